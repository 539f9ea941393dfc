import { existsSync } from "node:fs";
import { join } from "node:path";
import { scope, type Tensor, type WeightsFile } from "@spo/torch";
import {
  besideDenoiser,
  loadT5Encoder,
  loadTextEncoderWithProjection,
  loadTransformer,
  loadVae,
} from "../layouts/model-folder.js";
import { readModelIndex } from "../layouts/model-index.js";
import { type SaveOptions, savePipelineFolder } from "../layouts/pipeline-folder.js";
import { readScheduler } from "../layouts/read-scheduler.js";
import { SD3_TENSORS, sd3Modules } from "../layouts/sd3-names.js";
import type { AutoencoderKL } from "../models/autoencoder-kl.js";
import type { CLIPTextModelWithProjection } from "../models/clip-text.js";
import type { GuidedConditions } from "../models/conditions.js";
import { type SD3Transformer2DConfig, SD3Transformer2DModel } from "../models/sd3-transformer-2d.js";
import type { T5EncoderModel } from "../models/t5-encoder.js";
import type { FlowSchedule } from "../process/flow-schedule.js";
import { sd3Conditions } from "../prompts/sd3-text.js";
import { FlowEulerSchedule } from "../samplers/flow-euler.js";
import { FLOW_CLASS } from "../samplers/scheduler-classes.js";
import type { SchedulerConfig } from "../samplers/scheduler-config.js";
import { type ClipTokenizer, loadTokenizer } from "../tokenizer/clip-tokenizer.js";
import { loadT5Tokenizer, type T5Tokenizer } from "../tokenizer/t5-tokenizer.js";
import type { EncodeOptions, Family, LoadOptions, PipelineConfigs, TextToImage } from "./family.js";
import {
  countIn,
  JOINT_ATTENTION_TARGETS,
  projectedClipPart,
  publishedFlowVae,
  requireFlowFits,
  requirePlain,
  shapeIn,
  T5_TOKENIZERS,
  T5_XXL,
  t5Part,
  transformerPart,
} from "./flow-parts.js";
import { CLIP_BIG_G, CLIP_L } from "./published-parts.js";
import { CLIP_TOKENIZERS, vaePart } from "./shared-parts.js";
import { requireKnownIds, requireTextFits } from "./text-fits.js";

/** The parts of an SD3 pipeline, named as the folders of its checkpoint are. */
export interface StableDiffusion3Parts {
  tokenizer: ClipTokenizer;
  /** Pads with `!`, unlike the first. */
  tokenizer2: ClipTokenizer;
  textEncoder: CLIPTextModelWithProjection;
  textEncoder2: CLIPTextModelWithProjection;
  /** T5 and its tokenizer. Absent: its states are zeros. */
  t5?: { tokenizer: T5Tokenizer; encoder: T5EncoderModel };
  transformer: SD3Transformer2DModel;
  vae: AutoencoderKL;
  /** As it is written when the pipeline is saved. */
  schedulerConfig?: SchedulerConfig;
  /** Tokens of T5, or zeros in their place; 0: the texts are CLIP's alone. Default 256. */
  t5Length?: number;
}

/** Conditions of SD3's transformer. */
type SD3Conditions = { context: Tensor; pooled: Tensor };

/**
 * Stable Diffusion 3 and 3.5: two CLIPs and a T5, and a transformer that predicts the velocity of a flow.
 *
 * Source: Esser et al. 2024; diffusers StableDiffusion3Pipeline.
 */
export class StableDiffusion3 implements TextToImage {
  readonly denoiser: SD3Transformer2DModel;
  readonly vae: AutoencoderKL;
  readonly guidanceScale = 7;
  readonly schedule: FlowEulerSchedule;
  readonly #parts: StableDiffusion3Parts;

  /** Throws a UserError for parts that do not belong together. */
  constructor(parts: StableDiffusion3Parts) {
    const { transformer, vae, textEncoder, textEncoder2, t5, schedulerConfig = {} } = parts;
    requireFlowFits(transformer, vae, {
      context: t5?.encoder.width,
      pooled: textEncoder.projectionDim + textEncoder2.projectionDim,
    });
    requireTextFits(parts.tokenizer, textEncoder, "tokenizer");
    requireTextFits(parts.tokenizer2, textEncoder2, "tokenizer_2");
    this.#parts = parts;
    this.denoiser = transformer;
    this.vae = vae;
    this.schedule = new FlowEulerSchedule(schedulerConfig, {
      spacing: "training",
      patch: transformer.config.patch_size,
      latentSize: transformer.sampleSize,
    });
  }

  /**
   * Loads a folder in diffusers layout, with or without T5. T5 and the transformer come in `dtype`, the rest in float32.
   *
   * Throws UserErrors for what is missing, damaged, or of another family.
   */
  static load(folder: string, options: LoadOptions = {}): StableDiffusion3 {
    const index = readModelIndex(folder, [stableDiffusion3]);
    const { config: schedulerConfig } = readScheduler(folder, index);
    const beside = besideDenoiser(options);
    const hasT5 =
      index.text_encoder_3 === undefined
        ? existsSync(join(folder, "text_encoder_3"))
        : isNamed(index.text_encoder_3);
    return new StableDiffusion3({
      tokenizer: loadTokenizer(join(folder, "tokenizer")),
      tokenizer2: loadTokenizer(join(folder, "tokenizer_2")),
      textEncoder: loadTextEncoderWithProjection(join(folder, "text_encoder"), beside),
      textEncoder2: loadTextEncoderWithProjection(join(folder, "text_encoder_2"), beside),
      ...(hasT5 && {
        t5: {
          tokenizer: loadT5Tokenizer(join(folder, "tokenizer_3")),
          encoder: loadT5Encoder(join(folder, "text_encoder_3"), options),
        },
      }),
      transformer: loadTransformer(join(folder, "transformer"), SD3Transformer2DModel, options),
      vae: loadVae(join(folder, "vae"), beside),
      schedulerConfig,
      t5Length: index.max_sequence_length,
    });
  }

  /** The parts that it was made of. */
  get parts(): Readonly<StableDiffusion3Parts> {
    return this.#parts;
  }

  /** The first text encoder's. */
  get tokenizer(): ClipTokenizer {
    return this.#parts.tokenizer;
  }

  get process(): FlowSchedule {
    return this.schedule.process;
  }

  get family(): Family {
    return stableDiffusion3;
  }

  /** The models under the names of diffusers' folders. */
  get models() {
    const { textEncoder: text_encoder, textEncoder2: text_encoder_2, t5 } = this.#parts;
    return {
      ...{ transformer: this.denoiser, vae: this.vae, text_encoder, text_encoder_2 },
      ...(t5 && { text_encoder_3: t5.encoder }),
    };
  }

  /** Writes the folder that `load` and diffusers' `from_pretrained` read, with the scheduler that it came with. Fuse adapters first. */
  save(folder: string, options: SaveOptions = {}): void {
    const { tokenizer, tokenizer2, t5, schedulerConfig = {}, t5Length } = this.#parts;
    const none = [null, null];
    const index = {
      _class_name: stableDiffusion3.pipelines[0],
      ...{ feature_extractor: none, image_encoder: none },
      ...(!t5 && { text_encoder_3: none, tokenizer_3: none }),
      ...(t5Length !== undefined && { max_sequence_length: t5Length }),
    };
    const tokenizers = { tokenizer, tokenizer_2: tokenizer2, ...(t5 && { tokenizer_3: t5.tokenizer }) };
    const scheduler = { _class_name: FLOW_CLASS, ...schedulerConfig };
    savePipelineFolder(folder, { models: this.models, tokenizers, scheduler, index }, options);
  }

  /** The same model with another scheduler config. */
  withScheduler(schedulerConfig: SchedulerConfig): StableDiffusion3 {
    return new StableDiffusion3({ ...this.#parts, schedulerConfig });
  }

  /** CLIP's two, and T5's where it is there. */
  tokenize(prompts: readonly string[]): Tensor[] {
    const { tokenizer, tokenizer2, textEncoder, textEncoder2, t5 } = this.#parts;
    return [
      tokenizer.encodeBatch(prompts, (ids) => requireKnownIds(ids, prompts, textEncoder)),
      tokenizer2.encodeBatch(prompts, (ids) => requireKnownIds(ids, prompts, textEncoder2)),
      ...(t5
        ? [
            t5.tokenizer.encodeBatch(prompts, this.#t5Length, (ids) =>
              requireKnownIds(ids, prompts, t5.encoder),
            ),
          ]
        : []),
    ];
  }

  /** No negative prompt is the empty text, never zeros. Throws a UserError (`USAGE`) for another syntax than plain. */
  encode(
    prompts: readonly string[],
    { negativePrompt = "", syntax }: EncodeOptions,
  ): GuidedConditions<SD3Conditions> {
    requirePlain(syntax, stableDiffusion3.title);
    return scope(() => {
      const away = this.#conditions([negativePrompt]);
      return {
        conditional: this.#conditions(prompts),
        unconditional: {
          context: away.context.repeat([prompts.length, 1, 1]),
          pooled: away.pooled.repeat([prompts.length, 1]),
        },
      };
    });
  }

  get #t5Length(): number {
    return this.#parts.t5Length ?? 256;
  }

  #conditions(prompts: readonly string[]): SD3Conditions {
    return scope(() => {
      const { textEncoder, textEncoder2, t5 } = this.#parts;
      const [clip, clip2, t5Ids = this.#t5Length] = this.tokenize(prompts) as [Tensor, Tensor, Tensor?];
      const width = this.denoiser.config.joint_attention_dim;
      const encoders = { textEncoder, textEncoder2, textEncoder3: t5?.encoder };
      return sd3Conditions(encoders, { clip, clip2, t5: t5Ids }, width);
    });
  }
}

/** Whether an entry of model_index.json names a class. */
const isNamed = (entry: unknown): boolean => Array.isArray(entry) && typeof entry[1] === "string";

/** All but the transformer. */
const beside = {
  vae: publishedFlowVae(1.5305, 0.0609),
  text_encoder: CLIP_L,
  text_encoder_2: CLIP_BIG_G,
  text_encoder_3: T5_XXL,
  scheduler: { _class_name: FLOW_CLASS, num_train_timesteps: 1000, shift: 3 },
} as const;

/** Width of a head in all published models. */
const HEAD = 64;

/** Configs of a published model by the shapes in its file; undefined for another width of heads. */
function configsOf(file: WeightsFile): PipelineConfigs | undefined {
  const [width = 0, in_channels = 0, patch_size = 0] = shapeIn(file, "x_embedder.proj.weight") ?? [];
  const [, places = 0] = shapeIn(file, "pos_embed") ?? [];
  const layers = countIn(file, /joint_blocks\.(\d+)\./);
  const context = shapeIn(file, "context_embedder.weight")?.[1] ?? 0;
  if (width === 0 || width !== HEAD * layers.length || context !== T5_XXL.d_model) return undefined;
  const hasNorms = countIn(file, /joint_blocks\.(\d+)\.x_block\.attn\.ln_q\./).length > 0;
  const transformer: SD3Transformer2DConfig = {
    _class_name: "SD3Transformer2DModel",
    sample_size: 128,
    patch_size,
    in_channels,
    out_channels: in_channels,
    num_layers: layers.length,
    attention_head_dim: HEAD,
    num_attention_heads: width / HEAD,
    joint_attention_dim: context,
    caption_projection_dim: width,
    pooled_projection_dim: shapeIn(file, "y_embedder.mlp.0.weight")?.[1] ?? 0,
    pos_embed_max_size: Math.sqrt(places),
    dual_attention_layers: countIn(file, /joint_blocks\.(\d+)\.x_block\.attn2\./),
    qk_norm: hasNorms ? "rms_norm" : null,
  };
  return { transformer, ...beside };
}

/** Stable Diffusion 3.5 Medium. */
const published = {
  transformer: {
    _class_name: "SD3Transformer2DModel",
    sample_size: 128,
    patch_size: 2,
    in_channels: 16,
    out_channels: 16,
    num_layers: 24,
    attention_head_dim: HEAD,
    num_attention_heads: 24,
    joint_attention_dim: 4096,
    caption_projection_dim: 1536,
    pooled_projection_dim: 2048,
    pos_embed_max_size: 384,
    dual_attention_layers: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    qk_norm: "rms_norm",
  } satisfies SD3Transformer2DConfig,
  ...beside,
};

/** Widths of the published transformers: of SD3 and SD3.5 Medium, and of SD3.5 Large. */
const WIDTHS = [1536, 2432];

/** Stable Diffusion 3 and 3.5. */
export const stableDiffusion3 = {
  name: "sd3",
  title: "Stable Diffusion 3",
  pipelines: ["StableDiffusion3Pipeline"],
  parts: {
    transformer: transformerPart(SD3Transformer2DModel, {
      modules: sd3Modules,
      tensors: SD3_TENSORS,
      bare: {
        pattern: /^(joint_blocks|final_layer|[xty]_embedder|context_embedder|pos_embed)(\.|$)/,
        written: false,
      },
    }),
    vae: vaePart(),
    text_encoder: projectedClipPart("clip_l", "text_encoder", { kohyaPrefix: "lora_te1_", identity: true }),
    text_encoder_2: projectedClipPart("clip_g", "text_encoder_2", {
      kohyaPrefix: "lora_te2_",
      identity: false,
    }),
    text_encoder_3: t5Part({ optional: true }),
  },
  tokenizers: { tokenizer: CLIP_TOKENIZERS, tokenizer_2: CLIP_TOKENIZERS, tokenizer_3: T5_TOKENIZERS },
  optionalTokenizers: ["tokenizer_3"],
  denoiser: "transformer",
  published,
  sharedInParts: true,
  loraMatrices: "lora_A",
  loraTargets: JOINT_ATTENTION_TARGETS,
  metadata: {
    architecture: "stable-diffusion-3",
    implementation: "https://github.com/Stability-AI/generative-models",
    resolution: [1024, 1024],
    baseModelVersion: "sd3",
  },
  isDenoiser: (model) => model instanceof SD3Transformer2DModel,
  isSingleFile: (file) => file.keys().some((name) => /(^|\.)joint_blocks\.0\./.test(name)),
  configsOf,
  isLora: (file) => {
    const names = file.keys();
    if (names.some((name) => /(^|[._])joint_blocks[._]/.test(name))) return true;
    const down = names.find((name) =>
      /(^|[._])transformer_blocks[._]\d+[._]attn2?[._](to|add)_.*(lora_A|lora_down)\b/.test(name),
    );
    return down !== undefined && WIDTHS.includes(file.info(down).shape[1] ?? 0);
  },
  load: (folder, options) => StableDiffusion3.load(folder, options),
  assemble: ({ models, tokenizer, t5Tokenizer, schedulerConfig }) => {
    const { transformer, vae, text_encoder, text_encoder_2, text_encoder_3 } =
      models as StableDiffusion3["models"];
    return new StableDiffusion3({
      ...{ transformer, vae, textEncoder: text_encoder, textEncoder2: text_encoder_2 },
      ...{ tokenizer: tokenizer("tokenizer"), tokenizer2: tokenizer("tokenizer_2", "!") },
      ...(text_encoder_3 && { t5: { encoder: text_encoder_3, tokenizer: t5Tokenizer("tokenizer_3") } }),
      schedulerConfig,
    });
  },
} as const satisfies Family;
