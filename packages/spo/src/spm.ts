import { existsSync } from "node:fs";
import { join } from "node:path";
import {
  CLIPTextTransformer,
  type ClipActivation,
  checkConfig,
  endOfText,
  type PlaceOptions,
  readJson,
  readWeights,
  type Tap,
} from "@spo/diffusion";
import {
  type DType,
  type Generator,
  Linear,
  loadWeights,
  Module,
  noGrad,
  parameter,
  scope,
  type Tensor,
  UserError,
  writeFileAtomic,
  writeSafetensors,
  zeros,
} from "@spo/torch";
import { z } from "zod";
import { StepAwareVisionTransformer, TimestepEmbedder } from "./clip-vision.js";
import { clipProcessor, type ScoreProcessor } from "./preprocess.js";

const size = (value: number) => z.int().positive().default(value);
const activation = z.enum(["gelu", "quick_gelu"] satisfies ClipActivation[]).default("quick_gelu");

// Names and defaults are those of transformers' CLIPConfig, whose files leave out what equals the default.
const SpmConfigSchema = z.object({
  projection_dim: size(512),
  logit_scale_init_value: z.number().default(2.6592),
  text_config: z
    .object({
      hidden_size: size(512),
      intermediate_size: size(2048),
      num_attention_heads: size(8),
      num_hidden_layers: size(12),
      vocab_size: size(49408),
      max_position_embeddings: size(77),
      hidden_act: activation,
      layer_norm_eps: z.number().positive().default(1e-5),
      eos_token_id: z.int().default(2),
    })
    .prefault({}),
  vision_config: z
    .object({
      hidden_size: size(768),
      intermediate_size: size(3072),
      num_attention_heads: size(12),
      num_hidden_layers: size(12),
      image_size: size(224),
      patch_size: size(32),
      num_channels: size(3),
      hidden_act: activation,
      layer_norm_eps: z.number().positive().default(1e-5),
    })
    .prefault({}),
  time_conditioning: z
    .object({ frequency_embedding_size: size(256), max_period: z.number().positive().default(10000) })
    .prefault({}),
});

/** Sizes of a preference model, by the names of CLIP's `config.json`. */
export type SpmConfig = z.infer<typeof SpmConfigSchema>;
/** The same with everything optional that has a default. */
export type SpmConfigInput = z.input<typeof SpmConfigSchema>;

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
   * What follows that token cannot matter under the causal mask, so the columns that all rows have behind it are not computed.
   */
  textFeatures(ids: Tensor): Tensor {
    return scope(() => {
      const used = endOfText(ids, this.#config.text_config.eos_token_id).max().item() + 1;
      return this.text_projection.forward(this.text_model.forward(ids.narrow(1, 0, used)).pooled);
    });
  }

  /** exp(logit_scale)·cos(image, text), row by row. Both [n, projection] → [n]. */
  scores(imageFeatures: Tensor, textFeatures: Tensor): Tensor {
    return scope(() => unit(imageFeatures).mul(unit(textFeatures)).sum(-1).mul(this.logit_scale.exp()));
  }
}

/** Rows scaled to length 1. [n, width] → [n, width]. */
export const unit = (rows: Tensor): Tensor => rows.div(rows.linalgVectorNorm(2, -1, true));

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
    for (const { weight } of [first, second]) weight.normal_(0, 0.02, { generator });
  });
}

/**
 * Reads a preference model's folder: `config.json`, `model.safetensors` (keys with or without the prefix `model.`) and, when there,
 * `preprocessor_config.json`. Throws a UserError for what is missing, damaged or does not fit.
 */
export function loadSpm(
  folder: string,
  options: PlaceOptions = {},
): { spm: StepAwarePreferenceModel; processor: ScoreProcessor } {
  const spm = new StepAwarePreferenceModel(readConfig(folder));
  place(spm, readSpmWeights(folder), options);
  return { spm, processor: readProcessor(folder, spm.config) };
}

/**
 * Reads a plain CLIP folder (transformers' CLIPModel: PickScore, CLIP) as a preference model that is not yet trained on timesteps.
 *
 * It scores as the plain one at every t. Throws as `loadSpm`.
 */
export function fromClip(
  folder: string,
  generator: Generator,
  options: PlaceOptions = {},
): { spm: StepAwarePreferenceModel; processor: ScoreProcessor } {
  const spm = new StepAwarePreferenceModel(readConfig(folder));
  const { source, weights } = readSpmWeights(folder);
  for (const [name, { shape }] of spm.namedParameters()) {
    if (isTimeConditioning(name)) weights.set(name, zeros(shape));
  }
  place(spm, { source, weights }, options);
  initializeTimeConditioning(spm, generator);
  return { spm, processor: readProcessor(folder, spm.config) };
}

/** Whether a weight belongs to what the step-aware model adds to CLIP. */
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
  const weights = new Map(
    [...spm.namedParameters()].map(([name, value]) => [PREFIX + name, value.detach().to({ dtype })]),
  );
  writeFileAtomic(join(folder, "config.json"), `${JSON.stringify(config, null, 2)}\n`);
  writeFileAtomic(join(folder, "preprocessor_config.json"), `${JSON.stringify(preprocessor, null, 2)}\n`);
  writeSafetensors(join(folder, WEIGHTS), weights, { format: "pt" });
  for (const tensor of weights.values()) tensor.dispose();
}

function place(
  spm: StepAwarePreferenceModel,
  { source, weights }: { source: string; weights: ReadonlyMap<string, Tensor> },
  { dtype = "float32", device }: PlaceOptions,
): void {
  try {
    loadWeights(spm, weights, { source, dtype, device });
  } finally {
    for (const tensor of weights.values()) tensor.dispose();
  }
}

const WEIGHTS = "model.safetensors";
const PREFIX = "model.";

/** Weights by the names of the model's fields; the position buffers of older files are left out. */
function readSpmWeights(folder: string): { source: string; weights: Map<string, Tensor> } {
  const { source, weights } = readWeights(folder, [WEIGHTS]);
  const renamed = new Map<string, Tensor>();
  for (const [key, value] of weights) {
    const name = key.startsWith(PREFIX) ? key.slice(PREFIX.length) : key;
    if (!name.endsWith(".position_ids")) renamed.set(name, value);
  }
  return { source, weights: renamed };
}

const ProcessorSchema = z.object({
  crop_size: z
    .union([z.int().positive(), z.object({ height: z.int().positive(), width: z.int().positive() })])
    .optional(),
  image_mean: z.array(z.number()).length(3).optional(),
  image_std: z.array(z.number().positive()).length(3).optional(),
});

function readProcessor(folder: string, config: SpmConfig): ScoreProcessor {
  const standard = clipProcessor(config.vision_config.image_size);
  const path = join(folder, "preprocessor_config.json");
  if (!existsSync(path)) return standard;
  const found = checkConfig(ProcessorSchema, readJson(path), path);
  const { crop_size = standard.size, image_mean = standard.mean, image_std = standard.std } = found;
  const { height, width } =
    typeof crop_size === "number" ? { height: crop_size, width: crop_size } : crop_size;
  if (height !== standard.size || width !== standard.size) {
    throw new UserError(
      `${path}: crop_size is ${height}×${width}, but vision_config.image_size is ${standard.size}.`,
      { code: "DATA", hint: "The two files belong to different models." },
    );
  }
  return { size: standard.size, mean: image_mean, std: image_std };
}

function readConfig(folder: string): SpmConfig {
  const path = join(folder, "config.json");
  return checkConfig(SpmConfigSchema, readJson(path), path);
}
