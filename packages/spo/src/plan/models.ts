// The models of a job by their configs alone.
import { existsSync } from "node:fs";
import { join } from "node:path";
import {
  type AutoencoderKL,
  blankModels,
  CLIPTextModel,
  ClipTokenizer,
  type DenoiserModel,
  FAMILIES,
  familyOfConfigs,
  familyOfFolder,
  type GuidedConditions,
  type PipelineConfigs,
  quantizeBlocks,
  readConfigs,
  readJsonObject,
  T5EncoderModel,
  T5Tokenizer,
  type TextToImage,
} from "@spo/diffusion";
import { CLIPModel } from "@spo/scorers";
import {
  type Device,
  type DType,
  Generator,
  type Module,
  noGrad,
  rehearse,
  scope,
  Tensor,
  UserError,
  zeros,
} from "@spo/torch";
import { isDinaFolder } from "../spm/dina-lrm-files.js";
import {
  type LatentRewardModel,
  type LatentRewardSettings,
  PUBLISHED_LRM,
} from "../spm/latent-reward-model.js";
import { isLrmFolder } from "../spm/lrm-files.js";
import { blankLrm } from "../spm/new-lrm.js";
import { toDtype } from "../spm/preference-model.js";
import { type SpmConfigInput, StepAwarePreferenceModel, VIT_H } from "../spm/spm.js";

/** Models with shapes and no values, until `giveValues`. */
export interface PlannedModels {
  /** Its tokenizers know no word. */
  pipe: TextToImage;
  /** Those of CLIP in the pipeline, again. */
  texts: CLIPTextModel[];
  /** Of one prompt, what the denoiser is told of it. */
  conditionShapes: Readonly<Record<string, readonly number[]>>;
  denoiser: DenoiserModel;
  vae: AutoencoderKL;
  /** The preference model that looks at images. */
  spm?: StepAwarePreferenceModel;
  /** The one that looks at latents. */
  lrm?: LatentRewardModel;
  /** The plain scorer that the preference model starts from, where it makes the labels anew. */
  scorer?: CLIPModel;
  /** Height and width of the latents that the model was made for. */
  latentSize: readonly [number, number];
  device: Device;
}

/**
 * The configs of a pipeline: of a family by its name (`sd15`, `sdxl`), or of a folder in diffusers layout, whose weights need not be there.
 *
 * Throws a UserError (`DATA`) when it is neither.
 */
export function pipelineConfigs(model: string): PipelineConfigs {
  const named = FAMILIES.find(({ name }) => name === model);
  if (named) return named.published;
  const index = join(model, "model_index.json");
  const pipeline = existsSync(index) ? String(readJsonObject(index)._class_name) : undefined;
  const family = familyOfFolder(model);
  if (!family) {
    throw new UserError(`${model} is neither a folder with unet/config.json nor a known architecture.`, {
      code: "DATA",
      hint: `Known by name: ${FAMILIES.map(({ name }) => name).join(", ")}.`,
    });
  }
  return readConfigs(model, family, pipeline);
}

/** What a preference model is made of: the config of one of images, or `latent`, which has the diffusion model's own. */
export type PlannedPreference = SpmConfigInput | "latent";

/** Of a preference model: `vit-h`, `latent`, or a folder of either kind. */
export function preferenceConfig(model: string): PlannedPreference {
  if (model === "vit-h") return VIT_H;
  if (model === "latent" || isLrmFolder(model)) return "latent";
  if (isDinaFolder(model))
    throw new UserError(`${model} is a DiNa-LRM, whose memory and work are not planned.`, {
      code: "USAGE",
      hint: "Plan with the usual judge (leave --spm out); this one holds a copy of the transformer's first blocks, in --spm-dtype.",
    });
  const path = join(model, "config.json");
  if (!existsSync(path)) {
    throw new UserError(`${model} is neither a folder of a preference model nor vit-h or latent.`, {
      code: "DATA",
      hint: "vit-h is the size of the published preference models of images, latent one of the diffusion model's own size.",
    });
  }
  return readJsonObject(path) as SpmConfigInput;
}

/**
 * Makes the models on `meta`. dtype: of the denoiser, as when they are loaded. relabels: whether a plain scorer stands beside the
 * preference model.
 */
export function planModels(
  configs: PipelineConfigs,
  {
    spm,
    dtype = "float32",
    spmDtype = "float32",
    relabels = false,
    lrmSettings = PUBLISHED_LRM,
    student,
    baseDtype = null,
  }: {
    spm?: PlannedPreference;
    dtype?: DType;
    /** Of the weights of the denoiser's blocks, where it is not `dtype`. */
    baseDtype?: "int8" | null;
    /** Of the preference model. */
    spmDtype?: DType;
    relabels?: boolean;
    /** Of one that looks at latents. */
    lrmSettings?: LatentRewardSettings;
    /** A new one that learns from `spm`, which looks at images: with vectors of that width, where it may choose. */
    student?: "vectors" | "preferences";
  } = {},
): PlannedModels {
  const family = familyOfConfigs(configs);
  const blanks = blankModels(family, configs);
  const texts = Object.values(blanks).filter((model) => model instanceof CLIPTextModel);
  const { scheduler: schedulerConfig, pipeline = "" } = configs;
  const pipe = family.assemble({
    models: blanks,
    tokenizer: () => wordless(texts),
    t5Tokenizer: wordlessT5,
    schedulerConfig,
    schedulerSource: { pipeline },
  });
  const { vae } = pipe;
  const denoiser = pipe.denoiser.to({ dtype });
  if (baseDtype === "int8") quantizeBlocks(denoiser);
  const t5 = Object.values(pipe.models).filter((model) => model instanceof T5EncoderModel);
  for (const model of t5) model.to({ dtype });
  const judge = spm && spm !== "latent" ? new StepAwarePreferenceModel(spm) : undefined;
  const projectionDim = student === "vectors" ? judge?.config.projection_dim : undefined;
  const lrm =
    spm === "latent" || student ? blankLrm(pipe, { settings: lrmSettings, projectionDim }) : undefined;
  // A teacher does not learn: it stays as it is loaded.
  for (const model of student ? [lrm] : [judge, lrm])
    if (model && spmDtype !== "float32") toDtype(model, spmDtype);
  const scorer = judge && relabels ? new CLIPModel(judge.config) : undefined;
  for (const model of [denoiser, vae, judge, lrm, scorer]) model?.arrange_("channels_last"); // as loading puts them on a CPU
  return {
    pipe,
    texts,
    denoiser,
    vae,
    spm: judge,
    lrm,
    scorer,
    conditionShapes: conditionShapes(pipe),
    latentSize: denoiser.sampleSize,
    device: "meta",
  };
}

/** A tokenizer that marks the ends of a text, and has no words between them. */
const wordless = (texts: readonly CLIPTextModel[]): ClipTokenizer =>
  new ClipTokenizer({
    vocabulary: { "<|startoftext|>": 0, "<|endoftext|>": 1 },
    merges: [],
    modelMaxLength: Math.min(...texts.map(({ config }) => config.max_position_embeddings ?? 77)),
  });

/** A tokenizer of T5 that knows no word. */
const wordlessT5 = (): T5Tokenizer =>
  new T5Tokenizer({
    pieces: ["<pad>", "</s>", "<unk>"].map((piece) => [piece, 0]),
    unknownId: 2,
    characterMap: "AAAAAA==", // of no characters
    specialTokens: { "<pad>": 0, "</s>": 1 },
  });

/** Shapes of a prompt's conditions by name, as the text encoders give them: a flow's are as long as all of its encoders' together. */
const conditionShapes = (pipe: TextToImage): PlannedModels["conditionShapes"] =>
  rehearse(() =>
    noGrad(() =>
      scope(() => {
        const told = Object.entries(encodeWordless(pipe, 1).conditional);
        return Object.fromEntries(told.map(([name, { shape }]) => [name, shape.slice(1)]));
      }),
    ),
  ).value;

/** Encodes n prompts of no words. */
export function encodeWordless(pipe: TextToImage, n: number): GuidedConditions {
  const [height, width] = pipe.denoiser.sampleSize.map((side) => side * pipe.vae.factor) as [number, number];
  return pipe.encode(Array<string>(n).fill(""), { size: [height, width] });
}

/** The same models with random weights, for a measurement. */
export function giveValues(models: PlannedModels, device: Device = "cpu"): PlannedModels {
  const generator = new Generator(0);
  for (const module of modulesOf(models)) {
    noGrad(() => scope(() => fill(module, generator)));
    if (device !== "cpu") module.to({ device }).arrange_("contiguous"); // as loading leaves them there
  }
  return { ...models, device };
}

/**
 * Puts all parameters of a dtype into one block of memory, in their order and strides, and draws their values there: nothing is made and
 * freed, so the heap has no holes that a loaded model's would not have. Weights in 8 bits are 0.
 */
function fill(module: Module, generator: Generator): void {
  const all = [...new Set(module.parameters())];
  for (const dtype of new Set(all.map((parameter) => parameter.dtype)))
    fillBlock(
      all.filter((parameter) => parameter.dtype === dtype),
      dtype,
    );
  for (const part of module.modules().values())
    if (!Object.values(part).some((value) => value instanceof Tensor && value.dtype === "int8"))
      part.reset?.(generator);
}

function fillBlock(parameters: readonly Tensor[], dtype: DType): void {
  const starts: number[] = [];
  let length = 0;
  for (const { numel } of parameters) {
    starts.push(length);
    length += Math.ceil(numel / 32) * 32; // aligned as tensors of their own
  }
  const block = zeros([length], { dtype });
  for (const [i, parameter] of parameters.entries())
    parameter.assign(block.asStrided(parameter.shape, parameter.strides, starts[i]));
}

export const modulesOf = ({ pipe, spm, lrm, scorer }: PlannedModels): Module[] => [
  ...Object.values(pipe.models),
  ...(spm ? [spm] : []),
  ...(lrm ? [lrm] : []),
  ...(scorer ? [scorer] : []),
];

/** Bytes of parameters; one that stands at two names counts once. */
export function bytesOf(parameters: Iterable<Tensor>): number {
  return [...new Set(parameters)].reduce((sum, { nbytes }) => sum + nbytes, 0);
}

/** A tensor of no particular values. */
export const blank = (
  shape: readonly number[],
  { device }: { device: PlannedModels["device"] },
  dtype: DType = "float32",
): Tensor => zeros(shape, { device, dtype });
