import { existsSync } from "node:fs";
import { join } from "node:path";
import {
  CLIPTextTransformer,
  checkConfig,
  count,
  endOfText,
  MOST,
  type PlaceOptions,
  readJsonObject,
  type Tap,
} from "@spo/diffusion";
import {
  ClipConfigSchema,
  readClipFiles,
  readProcessor,
  readScorerWeights,
  type ScoreProcessor,
  unit,
} from "@spo/scorers";
import {
  type DType,
  type Generator,
  keep,
  Linear,
  loadWeights,
  Module,
  noGrad,
  parameter,
  scope,
  storedWeights,
  type Tensor,
  UserError,
  writeFileAtomic,
  writeSafetensors,
  zeros,
} from "@spo/torch";
import { z } from "zod";
import { StepAwareVisionTransformer, TimestepEmbedder } from "./clip-vision.js";

const SpmConfigSchema = ClipConfigSchema.extend({
  time_conditioning: z
    .object({
      frequency_embedding_size: count(MOST.width).multipleOf(2).default(256),
      max_period: z.number().positive().max(1e9).default(10000),
    })
    .prefault({}),
});

/** Sizes of a preference model, by the names of CLIP's `config.json`. */
export type SpmConfig = z.infer<typeof SpmConfigSchema>;
/** The same with everything optional that has a default. */
export type SpmConfigInput = z.input<typeof SpmConfigSchema>;

/** CLIP ViT-H/14, from which the published preference models were trained. */
export const VIT_H: SpmConfigInput = {
  projection_dim: 1024,
  text_config: {
    hidden_size: 1024,
    intermediate_size: 4096,
    num_attention_heads: 16,
    num_hidden_layers: 24,
    hidden_act: "gelu",
  },
  vision_config: {
    hidden_size: 1280,
    intermediate_size: 5120,
    num_attention_heads: 16,
    num_hidden_layers: 32,
    patch_size: 14,
    hidden_act: "gelu",
  },
};

/**
 * Step-aware preference model: CLIP whose vision tower knows the timestep, so that it judges an image at every noise level.
 *
 * The fields are the published checkpoint's keys without their prefix `model.`. Source: Liang et al. 2024; algorithm 3.
 */
export class StepAwarePreferenceModel extends Module {
  readonly logit_scale: Tensor;
  readonly text_model: CLIPTextTransformer;
  readonly vision_model: StepAwareVisionTransformer;
  readonly visual_projection: Linear;
  readonly text_projection: Linear;
  readonly t_embedder: TimestepEmbedder;
  readonly #config: SpmConfig;

  constructor(config: SpmConfigInput) {
    super();
    const full = checkConfig(SpmConfigSchema, config, "StepAwarePreferenceModel: config.json");
    const { text_config, vision_config, projection_dim, time_conditioning } = full;
    this.#config = full;
    this.logit_scale = parameter([]);
    this.text_model = new CLIPTextTransformer(text_config);
    this.vision_model = new StepAwareVisionTransformer(vision_config);
    this.visual_projection = new Linear(vision_config.hidden_size, projection_dim, { bias: false });
    this.text_projection = new Linear(text_config.hidden_size, projection_dim, { bias: false });
    this.t_embedder = new TimestepEmbedder(vision_config.hidden_size, {
      frequencies: time_conditioning.frequency_embedding_size,
      maxPeriod: time_conditioning.max_period,
    });
  }

  get config(): SpmConfig {
    return this.#config;
  }

  override reset(): void {
    this.logit_scale.fill_(this.#config.logit_scale_init_value);
  }

  /** pixels [n, c, size, size] normalised, t: one for all or int64 [n], in [0, 1000) → [n, projection], not normalised. */
  imageFeatures(pixels: Tensor, t: number | Tensor, tap?: Tap): Tensor {
    return scope(() => {
      const tau = this.t_embedder.forward(t);
      const pooled = this.vision_model.forward(pixels, tau, tap);
      tap?.("time_embedding", tau);
      tap?.("pooled", pooled);
      return this.visual_projection.forward(pooled);
    });
  }

  /**
   * ids int64 [n, L] → [n, projection], not normalised. Reads the state at each row's first end-of-text token.
   *
   * Under the causal mask the tokens after it have no effect, so columns that are after it in all rows are not computed.
   */
  textFeatures(ids: Tensor): Tensor {
    return scope(() => {
      const ends = endOfText(ids, this.#config.text_config.eos_token_id);
      // Without values there is no end: all columns are computed.
      const used = ids.device === "meta" ? (ids.shape[1] as number) : ends.max().item() + 1;
      return this.text_projection.forward(this.text_model.forward(ids.narrow(1, 0, used)).pooled);
    });
  }

  /** exp(logit_scale)·cos(image, text), row by row, in the scale's dtype: halves would tell few apart. Both [n, projection] → [n]. */
  scores(imageFeatures: Tensor, textFeatures: Tensor): Tensor {
    return scope(() => {
      const { dtype } = this.logit_scale;
      const [image, text] = [imageFeatures, textFeatures].map((rows) => unit(rows.to({ dtype })));
      return (image as Tensor)
        .mul(text as Tensor)
        .sum(-1)
        .mul(this.logit_scale.exp());
    });
  }
}

/**
 * Sets the time conditioning to its values before training: the model then equals the plain CLIP scorer at every t.
 *
 * All adaLN weights 0; biases 0 but for the layers' two gates, 1; the time MLP's weights N(0, 0.02²), its biases 0. Source: algorithm 3.
 */
export function initializeTimeConditioning(spm: StepAwarePreferenceModel, generator: Generator): void {
  noGrad(() => {
    const width = spm.config.vision_config.hidden_size;
    for (const layer of spm.vision_model.encoder.layers) {
      const [, linear] = layer.adaLN_modulation;
      linear.weight.zero_();
      linear.bias?.zero_();
      for (const gate of [2, 5]) linear.bias?.narrow(0, gate * width, width).fill_(1);
    }
    const [, final] = spm.vision_model.adaLN_modulation;
    const [first, , second] = spm.t_embedder.mlp;
    for (const { weight, bias } of [final, first, second]) {
      weight.zero_();
      bias?.zero_();
    }
    // Drawn where the generator is: the same on every device.
    for (const { weight } of [first, second])
      scope(() => weight.copy_(zeros(weight.shape, { dtype: weight.dtype }).normal_(0, 0.02, { generator })));
  });
}

/**
 * Reads a preference model: a folder with `config.json`, weights (names with or without the prefix `model.`) and, when there,
 * `preprocessor_config.json`; or one file of weights, safetensors or torch.save's, with these beside it. A bare file needs no config where
 * it has the published models' sizes.
 *
 * Throws a UserError for what is missing, damaged or does not fit.
 */
export function loadSpm(
  path: string,
  options: PlaceOptions = {},
): { spm: StepAwarePreferenceModel; processor: ScoreProcessor } {
  return scope(() => {
    const { folder, source, weights } = readScorerWeights(path);
    if (![...weights.keys()].some(isTimeConditioning)) {
      throw new UserError(`${source} is a plain CLIP, not a step-aware preference model.`, {
        code: "DATA",
        hint: "npx spo train spm --init makes one of it; before any training it scores alike at every timestep.",
      });
    }
    const spm = new StepAwarePreferenceModel(spmConfig(folder, source, weights));
    const processor = readProcessor(folder, spm.config); // before the weights are kept: it may throw
    place(spm, { source, weights }, options);
    return { spm, processor };
  });
}

/**
 * Reads a plain CLIP as a preference model that is not yet trained on timesteps: transformers' layout (CLIP, PickScore) or open_clip's, a
 * folder or a file. It scores as the plain one at every t. Throws as `readClipFiles`.
 */
export function fromClip(
  path: string,
  generator: Generator,
  options: PlaceOptions = {},
): { spm: StepAwarePreferenceModel; processor: ScoreProcessor } {
  return scope(() => {
    const { config, processor, source, weights } = readClipFiles(path);
    const spm = new StepAwarePreferenceModel(config);
    for (const [name, { shape }] of spm.namedParameters()) {
      if (isTimeConditioning(name)) weights.set(name, zeros(shape));
    }
    place(spm, { source, weights }, options);
    initializeTimeConditioning(spm, generator);
    return { spm, processor };
  });
}

/** A preference model to train: a step-aware one goes on from where it is, a plain CLIP gets its time conditioning from `generator`. */
export function startSpm(
  path: string,
  generator: Generator,
  options: PlaceOptions = {},
): { spm: StepAwarePreferenceModel; processor: ScoreProcessor } {
  const isStepAware = scope(() => [...readScorerWeights(path).weights.keys()].some(isTimeConditioning));
  return isStepAware ? loadSpm(path, options) : fromClip(path, generator, options);
}

/** Whether a weight is one that the step-aware model adds to CLIP. */
export const isTimeConditioning = (name: string): boolean =>
  name.startsWith("t_embedder.") || name.includes("adaLN_modulation.");

/** Writes a folder that `loadSpm` reads; the weights under the published checkpoint's names. */
export function saveSpm(
  folder: string,
  spm: StepAwarePreferenceModel,
  processor: ScoreProcessor,
  { dtype }: { dtype?: DType } = {},
): void {
  const config = { architectures: ["CLIPModel"], model_type: "clip", ...spm.config };
  const square = { height: processor.size, width: processor.size };
  const preprocessor = {
    image_processor_type: "CLIPImageProcessor",
    do_resize: true,
    size: { shortest_edge: processor.size },
    resample: 3,
    do_center_crop: true,
    crop_size: square,
    do_normalize: true,
    image_mean: processor.mean,
    image_std: processor.std,
  };
  const path = join(folder, WEIGHTS);
  const stored = storedWeights(spm.namedParameters(), { dtype, place: path });
  const weights = new Map([...stored].map(([name, value]) => [PREFIX + name, value]));
  writeFileAtomic(join(folder, "config.json"), `${JSON.stringify(config, null, 2)}\n`);
  writeFileAtomic(join(folder, "preprocessor_config.json"), `${JSON.stringify(preprocessor, null, 2)}\n`);
  writeSafetensors(path, weights, { format: "pt" });
  if (dtype) for (const tensor of weights.values()) tensor.dispose();
}

function place(
  spm: StepAwarePreferenceModel,
  { source, weights }: { source: string; weights: ReadonlyMap<string, Tensor> },
  { dtype = "float32", device }: PlaceOptions,
): void {
  loadWeights(spm, weights, { source, dtype, device, consume: true });
  keep(spm.parameters());
}

const WEIGHTS = "model.safetensors";
const PREFIX = "model.";

/** `config.json` beside the weights; without it the published sizes, where the weights have them. */
function spmConfig(folder: string, source: string, weights: ReadonlyMap<string, Tensor>): SpmConfigInput {
  const path = join(folder, "config.json");
  if (existsSync(path)) return checkConfig(SpmConfigSchema, readJsonObject(path), path);
  const { vision_config: vision } = VIT_H;
  const [width, , patch] = weights.get("vision_model.embeddings.patch_embedding.weight")?.shape ?? [];
  if (width === vision?.hidden_size && patch === vision?.patch_size) return VIT_H;
  throw new UserError(`${source} has no config.json beside it, and is not of the published models' size.`, {
    code: "DATA",
    hint: "Put the config.json of the CLIP that it was made from beside it.",
  });
}
