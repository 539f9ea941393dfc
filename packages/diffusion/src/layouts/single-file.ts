// Whole pipelines in one file, in the naming of the original latent-diffusion code: what checkpoints are shared as.
import { existsSync } from "node:fs";
import { join } from "node:path";
import {
  type DType,
  type Module,
  noGrad,
  openWeights,
  scope,
  storedWeights,
  type Tensor,
  UserError,
  type WeightsFile,
  warnOfUnused,
  writeSafetensors,
  zeros,
} from "@spo/torch";
import { readJsonObject } from "../config.js";
import { AutoencoderKL } from "../models/autoencoder-kl.js";
import { CLIPTextModel, CLIPTextModelWithProjection } from "../models/clip-text.js";
import { UNet2DConditionModel } from "../models/unet-2d-condition.js";
import { type PipelineConfigs, PUBLISHED, publishedFamily } from "../pipelines/published-configs.js";
import { besideDenoiser, type LoadOptions } from "../pipelines/text-to-image.js";
import { lacksField } from "../samplers/scheduler-classes.js";
import type { SchedulerConfig } from "../samplers/scheduler-config.js";
import { type LdmModel, ldmText, ldmUnet, ldmVae, openClipText } from "./ldm-models.js";
import { type Misfit, refuseMisfits } from "./misfits.js";
import { place } from "./model-folder.js";
import { readScheduler, repairedUnet, repairedVae, schedulerPart } from "./pipeline-repairs.js";
import { scaledFloat8 } from "./scaled-float8.js";

/** The models of a pipeline, under the names of diffusers' folders. */
export interface PipelineModels {
  unet: UNet2DConditionModel;
  vae: AutoencoderKL;
  text_encoder: CLIPTextModel;
  /** SDXL's second one. */
  text_encoder_2?: CLIPTextModelWithProjection;
}

type Part = keyof PipelineModels;

/** Where each model's weights stand in a file. */
const PREFIXES: Readonly<Record<"sd15" | "sdxl", Partial<Record<Part, string>>>> = {
  sd15: {
    unet: "model.diffusion_model.",
    vae: "first_stage_model.",
    text_encoder: "cond_stage_model.transformer.",
  },
  sdxl: {
    unet: "model.diffusion_model.",
    vae: "first_stage_model.",
    text_encoder: "conditioner.embedders.0.transformer.",
    text_encoder_2: "conditioner.embedders.1.model.",
  },
};

/** Entries of published files that are no weights: the training code's noise schedule and counters, averages of weights, buffers. */
const NOT_WEIGHTS: readonly RegExp[] = [
  /^[^.]+$/, // a buffer of the training wrapper: betas, alphas_cumprod, global_step
  /^model_ema\./,
  /^denoiser\./,
  /^first_stage_model\.(loss|model_ema)\./,
  /\.position_ids$/,
  /\.logit_scale$/,
  /\.attn_mask$/,
];

/**
 * Loads a checkpoint of Stable Diffusion 1.5 or SDXL, safetensors or torch.save's.
 *
 * configs: a pipeline's folder, of which only the config.json files are read, or the configs themselves. Default: those of the published
 * base models, recognised by their shapes. Throws UserErrors for another architecture, and with all names that do not fit.
 */
export function loadSingleFile(
  path: string,
  { configs, ...placing }: { configs?: string | PipelineConfigs } & LoadOptions = {},
): { family: "sd15" | "sdxl"; models: PipelineModels; scheduler: SchedulerConfig } {
  using file = openWeights(path);
  const family = file.keys().some((name) => name.startsWith("conditioner.")) ? "sdxl" : "sd15";
  refuseOtherFormulations(file, path);
  const found =
    typeof configs === "string" ? readConfigs(configs, family) : (configs ?? publishedConfigs(file, path));
  const { parts, unused } = partNames(file, family, path);
  const load = <M extends Module>(part: Part, model: M, { fromOriginal }: LdmModel): M => {
    const prefix = PREFIXES[family][part] as string;
    noGrad(() =>
      scope(() => {
        const names = parts.get(part) ?? [];
        const stored = new Map(names.map((name) => [name.slice(prefix.length), file.get(name)]));
        const original = scaledFloat8(stored);
        const converted = fromOriginal(original);
        const nameInFile = (name: string): string =>
          prefix + ([...original].find(([, x]) => x === converted.get(name))?.[0] ?? name);
        place(model, converted, path, {
          ...(part === "unet" ? placing : besideDenoiser(placing)),
          onUnused: (names) => void unused.push(...names.map(nameInFile)),
        });
      }),
    );
    return model;
  };
  const models: PipelineModels = {
    unet: load("unet", new UNet2DConditionModel(found.unet), ldmUnet(found.unet)),
    vae: load("vae", new AutoencoderKL(found.vae), ldmVae(found.vae)),
    text_encoder: load("text_encoder", new CLIPTextModel(found.text_encoder), ldmText()),
  };
  if (family === "sdxl") {
    const config = found.text_encoder_2;
    if (!config)
      throw new UserError(`${path} is an SDXL checkpoint, and the configs have no text_encoder_2.`, {
        code: "CONFIG",
      });
    models.text_encoder_2 = load(
      "text_encoder_2",
      new CLIPTextModelWithProjection(config),
      openClipText(config),
    );
  }
  warnOfUnused(path, unused);
  // Fine-tuners mark a change of the prediction by an empty entry.
  const scheduler: SchedulerConfig = {
    ...found.scheduler,
    ...(file.has("v_pred") && { prediction_type: "v_prediction" as const }),
    ...(file.has("ztsnr") && withZeroSnr(found.scheduler)),
  };
  return { family, models, scheduler };
}

/** A scheduler whose last timestep is noise alone: of a class that cannot have that, as PNDM, Euler takes the place. */
const withZeroSnr = ({ _class_name: name }: SchedulerConfig): SchedulerConfig => ({
  rescale_betas_zero_snr: true,
  ...(lacksField(name, "rescale_betas_zero_snr") && { _class_name: "EulerDiscreteScheduler" }),
});

/** Entries that mark a denoiser which is asked in another way, and what that is. A file with one loads, and its images would be wrong. */
const OTHER_FORMULATIONS: Readonly<Record<string, string>> = {
  edm_mean: "EDM's scaling of latents, as Playground v2.5 has it",
  edm_std: "EDM's scaling of latents, as Playground v2.5 has it",
  "edm_vpred.sigma_max": "EDM's noise levels with v-prediction, as CosXL has them",
  "edm_vpred.sigma_min": "EDM's noise levels with v-prediction, as CosXL has them",
};

function refuseOtherFormulations(file: WeightsFile, path: string): void {
  const mark = Object.keys(OTHER_FORMULATIONS).find((name) => file.has(name));
  if (mark === undefined) return;
  throw new UserError(
    `${path} was trained with ${OTHER_FORMULATIONS[mark]} (${mark}), which is not supported.`,
    {
      code: "DATA",
      hint: "Supported are models that predict noise or v in Stable Diffusion's own noise levels.",
    },
  );
}

/**
 * Names of each model's weights, and those of none.
 *
 * Throws a UserError that names each part of which there is nothing, and then the names of none too.
 */
function partNames(
  file: WeightsFile,
  family: "sd15" | "sdxl",
  path: string,
): { parts: Map<Part, string[]>; unused: string[] } {
  const prefixes = Object.entries(PREFIXES[family]) as [Part, string][];
  const parts = new Map<Part, string[]>();
  const unused: string[] = [];
  const faults: Misfit[] = [];
  for (const name of file.keys()) {
    if (NOT_WEIGHTS.some((pattern) => pattern.test(name))) continue;
    const part = prefixes.find(([, prefix]) => name.startsWith(prefix))?.[0];
    if (part) parts.set(part, [...(parts.get(part) ?? []), name]);
    else unused.push(name);
  }
  for (const [part, prefix] of prefixes)
    if (!parts.has(part)) faults.push([`${prefix}…`, `missing: the file has no ${part}`]);
  if (faults.length > 0)
    faults.push(...unused.map((name): Misfit => [name, "belongs to no model of this family"]));
  refuseMisfits(
    `${path} is not a whole ${family === "sdxl" ? "SDXL" : "Stable Diffusion 1.5"} checkpoint`,
    faults,
    "Give a full checkpoint of Stable Diffusion 1.5 or SDXL; one without VAE or text encoder must be put together first.",
  );
  return { parts, unused };
}

function publishedConfigs(file: WeightsFile, path: string): PipelineConfigs {
  const shapeOf = (pattern: RegExp): readonly number[] | undefined => {
    const name = file.keys().find((key) => pattern.test(key));
    return name === undefined ? undefined : file.info(name).shape;
  };
  const first = shapeOf(/^model\.diffusion_model\.input_blocks\.0\.0\.weight$/);
  if (!first) {
    throw new UserError(
      `${path} is no checkpoint in one file: it has no model.diffusion_model.input_blocks.0.0.weight.`,
      {
        code: "DATA",
        hint: "Give a checkpoint of Stable Diffusion 1.5 or SDXL, or a folder in diffusers layout.",
      },
    );
  }
  const family = publishedFamily({
    width: first[0] ?? 0,
    inputs: first[1] ?? 0,
    context: shapeOf(/^model\.diffusion_model\..*attn2\.to_k\.weight$/)?.[1] ?? 0,
    conditions: shapeOf(/^model\.diffusion_model\.label_emb\.0\.0\.weight$/)?.[1] ?? 0,
  });
  if (typeof family !== "string") {
    throw new UserError(`${path} is ${family.otherwise}; supported are Stable Diffusion 1.5 and SDXL base.`, {
      code: "DATA",
      hint: "For a model of one of these families with other sizes, give the folder with its configs (--configs).",
    });
  }
  return PUBLISHED[family];
}

function readConfigs(folder: string, family: "sd15" | "sdxl"): PipelineConfigs {
  const pipeline = family === "sdxl" ? "StableDiffusionXLPipeline" : "StableDiffusionPipeline";
  const at = (part: string): string => join(folder, part, "config.json");
  const config = (part: string): unknown => readJsonObject(at(part));
  const scheduler = join(folder, "scheduler", "scheduler_config.json");
  return {
    unet: repairedUnet(config("unet") as PipelineConfigs["unet"], pipeline, at("unet")),
    vae: repairedVae(config("vae") as PipelineConfigs["vae"], pipeline, at("vae")),
    text_encoder: config("text_encoder") as PipelineConfigs["text_encoder"],
    ...(family === "sdxl" && {
      text_encoder_2: config("text_encoder_2") as PipelineConfigs["text_encoder"],
    }),
    scheduler: existsSync(scheduler)
      ? readScheduler(folder, schedulerPart(folder)).config
      : PUBLISHED[family].scheduler,
  };
}

/**
 * Writes a pipeline as one safetensors file in the original naming, whole or not at all. Fuse adapters first.
 *
 * dtype: of the file, default the models' own. scheduler: one that predicts v, or whose last timestep is noise alone, is marked by the
 * empty entries that fine-tuners use. Throws a UserError (`CONFIG`) for one that predicts x̂0, which such a file cannot say, and as
 * `saveModel` for weights that are not finite.
 */
export function saveSingleFile(
  path: string,
  models: PipelineModels,
  {
    dtype,
    scheduler,
    metadata = {},
  }: { dtype?: DType; scheduler?: SchedulerConfig; metadata?: Readonly<Record<string, string>> } = {},
): void {
  if (scheduler?.prediction_type === "sample")
    throw new UserError(
      'A model with prediction_type "sample" cannot be one file: readers would take its output for noise.',
      {
        code: "CONFIG",
        hint: "Write it as a folder.",
      },
    );
  const second = models.text_encoder_2;
  const prefixes = PREFIXES[second ? "sdxl" : "sd15"];
  noGrad(() =>
    scope(() => {
      const tensors = new Map<string, Tensor>();
      const add = (part: Part, convert: LdmModel): void => {
        const weights = storedWeights(models[part]?.namedParameters() ?? new Map(), {
          dtype,
          place: `${path} (${part})`,
        });
        for (const [name, value] of convert.toOriginal(weights)) tensors.set(prefixes[part] + name, value);
      };
      add("unet", ldmUnet(models.unet.config));
      add("vae", ldmVae(models.vae.config));
      add("text_encoder", ldmText());
      if (second) add("text_encoder_2", openClipText(second.config));
      const predictsV = scheduler?.prediction_type === "v_prediction";
      if (predictsV) tensors.set("v_pred", zeros([0]));
      if (scheduler?.rescale_betas_zero_snr) tensors.set("ztsnr", zeros([0]));
      const family = second ? "stable-diffusion-xl-v1-base" : "stable-diffusion-v1";
      writeSafetensors(path, tensors, {
        format: "pt",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": family,
        ...(scheduler && { "modelspec.prediction_type": predictsV ? "v" : "epsilon" }),
        ...metadata,
      });
    }),
  );
}
