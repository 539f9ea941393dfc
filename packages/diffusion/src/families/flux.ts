import { join } from "node:path";
import { scope, type Tensor, UserError, type WeightsFile } from "@spo/torch";
import { fluxModules } from "../layouts/flux-names.js";
import {
  besideDenoiser,
  loadT5Encoder,
  loadTextEncoder,
  loadTransformer,
  loadVae,
} from "../layouts/model-folder.js";
import { readModelIndex } from "../layouts/model-index.js";
import { type SaveOptions, savePipelineFolder } from "../layouts/pipeline-folder.js";
import { readScheduler } from "../layouts/read-scheduler.js";
import type { AutoencoderKL } from "../models/autoencoder-kl.js";
import type { CLIPTextModel } from "../models/clip-text.js";
import type { GuidedConditions } from "../models/conditions.js";
import { type FluxTransformer2DConfig, FluxTransformer2DModel } from "../models/flux-transformer-2d.js";
import type { T5EncoderModel } from "../models/t5-encoder.js";
import type { FlowSchedule } from "../process/flow-schedule.js";
import { fluxConditions } from "../prompts/flux-text.js";
import { FlowEulerSchedule } from "../samplers/flow-euler.js";
import { FLOW_CLASS } from "../samplers/scheduler-classes.js";
import type { SchedulerConfig } from "../samplers/scheduler-config.js";
import { type ClipTokenizer, loadTokenizer } from "../tokenizer/clip-tokenizer.js";
import { loadT5Tokenizer, type T5Tokenizer } from "../tokenizer/t5-tokenizer.js";
import type { EncodeOptions, Family, LoadOptions, PipelineConfigs, TextToImage } from "./family.js";
import {
  countIn,
  JOINT_ATTENTION_TARGETS,
  publishedFlowVae,
  requireFlowFits,
  requirePlain,
  shapeIn,
  T5_TOKENIZERS,
  T5_XXL,
  t5Part,
  transformerPart,
} from "./flow-parts.js";
import { CLIP_L } from "./published-parts.js";
import { CLIP_TOKENIZERS, clipPart, vaePart } from "./shared-parts.js";
import { requireKnownIds, requireTextFits } from "./text-fits.js";

/** The parts of a FLUX pipeline, named as the folders of its checkpoint are. */
export interface FluxParts {
  tokenizer: ClipTokenizer;
  textEncoder: CLIPTextModel;
  tokenizer2: T5Tokenizer;
  textEncoder2: T5EncoderModel;
  transformer: FluxTransformer2DModel;
  vae: AutoencoderKL;
  /** As it is written when the pipeline is saved. */
  schedulerConfig?: SchedulerConfig;
  /** Tokens of T5. Default 512, and 256 for a model without guidance embedding (schnell). */
  t5Length?: number;
}

/** Conditions of FLUX's transformer. */
type FluxConditions = { context: Tensor; pooled: Tensor };

/**
 * FLUX.1: CLIP's pooled state and T5's states, and a transformer that predicts the velocity of a flow and is told the guidance scale.
 *
 * Source: Black Forest Labs, `flux`; diffusers FluxPipeline.
 */
export class Flux implements TextToImage {
  readonly denoiser: FluxTransformer2DModel;
  readonly vae: AutoencoderKL;
  readonly schedule: FlowEulerSchedule;
  readonly #parts: FluxParts;

  /** Throws a UserError for parts that do not belong together. */
  constructor(parts: FluxParts) {
    const { transformer, vae, textEncoder, textEncoder2, schedulerConfig = {} } = parts;
    requireFlowFits(transformer, vae, {
      context: textEncoder2.width,
      pooled: textEncoder.config.hidden_size,
    });
    requireTextFits(parts.tokenizer, textEncoder, "tokenizer");
    this.#parts = parts;
    this.denoiser = transformer;
    this.vae = vae;
    this.schedule = new FlowEulerSchedule(schedulerConfig, {
      spacing: "whole",
      patch: 2,
      latentSize: transformer.sampleSize,
    });
  }

  /**
   * Loads a folder in diffusers layout. T5 and the transformer come in `dtype`, the rest in float32.
   *
   * Throws UserErrors for what is missing, damaged, or of another family.
   */
  static load(folder: string, options: LoadOptions = {}): Flux {
    const index = readModelIndex(folder, [flux]);
    const { config: schedulerConfig } = readScheduler(folder, index);
    const beside = besideDenoiser(options);
    return new Flux({
      tokenizer: loadTokenizer(join(folder, "tokenizer")),
      textEncoder: loadTextEncoder(join(folder, "text_encoder"), beside),
      tokenizer2: loadT5Tokenizer(join(folder, "tokenizer_2")),
      textEncoder2: loadT5Encoder(join(folder, "text_encoder_2"), options),
      transformer: loadTransformer(join(folder, "transformer"), FluxTransformer2DModel, options),
      vae: loadVae(join(folder, "vae"), beside),
      schedulerConfig,
    });
  }

  get guidanceScale(): number {
    return this.denoiser.embedsGuidance ? 3.5 : 1;
  }

  /** CLIP's. */
  get tokenizer(): ClipTokenizer {
    return this.#parts.tokenizer;
  }

  get process(): FlowSchedule {
    return this.schedule.process;
  }

  get family(): Family {
    return flux;
  }

  /** The models under the names of diffusers' folders. */
  get models() {
    const { textEncoder: text_encoder, textEncoder2: text_encoder_2 } = this.#parts;
    return { transformer: this.denoiser, vae: this.vae, text_encoder, text_encoder_2 };
  }

  /** Writes the folder that `load` and diffusers' `from_pretrained` read, with the scheduler that it came with. Fuse adapters first. */
  save(folder: string, options: SaveOptions = {}): void {
    const { tokenizer, tokenizer2, schedulerConfig = {} } = this.#parts;
    const none = [null, null];
    const index = { _class_name: flux.pipelines[0], feature_extractor: none, image_encoder: none };
    const tokenizers = { tokenizer, tokenizer_2: tokenizer2 };
    const scheduler = { _class_name: FLOW_CLASS, ...schedulerConfig };
    savePipelineFolder(folder, { models: this.models, tokenizers, scheduler, index }, options);
  }

  /** The same model with another scheduler config. */
  withScheduler(schedulerConfig: SchedulerConfig): Flux {
    return new Flux({ ...this.#parts, schedulerConfig });
  }

  /** CLIP's, then T5's. */
  tokenize(prompts: readonly string[]): Tensor[] {
    const { tokenizer, tokenizer2, textEncoder, textEncoder2, t5Length } = this.#parts;
    const length = t5Length ?? (this.denoiser.embedsGuidance ? 512 : 256);
    return [
      tokenizer.encodeBatch(prompts, (ids) => requireKnownIds(ids, prompts, textEncoder)),
      tokenizer2.encodeBatch(prompts, length, (ids) => requireKnownIds(ids, prompts, textEncoder2)),
    ];
  }

  /**
   * Both sides are the same: the model is told the guidance scale and has no other side. Throws a UserError (`USAGE`) for a negative
   * prompt, and for another syntax than plain.
   */
  encode(
    prompts: readonly string[],
    { negativePrompt, syntax }: EncodeOptions,
  ): GuidedConditions<FluxConditions> {
    requirePlain(syntax, flux.title);
    if (negativePrompt)
      throw new UserError(
        "FLUX.1 takes no negative prompt: it was distilled from guided images and has no second side.",
        {
          code: "USAGE",
          hint: "Leave the negative prompt out, and say in the prompt what the image is to show.",
        },
      );
    return scope(() => {
      const [clip, t5] = this.tokenize(prompts) as [Tensor, Tensor];
      const conditional = fluxConditions(this.#parts, { clip, t5 });
      return { conditional, unconditional: conditional };
    });
  }
}

/** Width of a head, and how it is shared among the axes, in all published models. */
const [HEAD, AXES] = [128, [16, 56, 56]];

const scheduler = (guided: boolean): SchedulerConfig =>
  guided
    ? {
        ...{ _class_name: FLOW_CLASS, num_train_timesteps: 1000, shift: 3, use_dynamic_shifting: true },
        ...{ base_shift: 0.5, max_shift: 1.15, base_image_seq_len: 256, max_image_seq_len: 4096 },
      }
    : { _class_name: FLOW_CLASS, num_train_timesteps: 1000, shift: 1 };

/** All but the transformer. guided: whether it is told the guidance scale. */
const beside = (guided: boolean) => ({
  vae: publishedFlowVae(0.3611, 0.1159),
  text_encoder: CLIP_L,
  text_encoder_2: T5_XXL,
  scheduler: scheduler(guided),
});

/** Configs of a published model by the shapes in its file; undefined for another width of texts or heads. */
function configsOf(file: WeightsFile): PipelineConfigs | undefined {
  const [width = 0, in_channels = 0] = shapeIn(file, "img_in.weight") ?? [];
  const context = shapeIn(file, "txt_in.weight")?.[1] ?? 0;
  if (width === 0 || width % HEAD !== 0 || context !== T5_XXL.d_model) return undefined;
  const guidance_embeds = shapeIn(file, "guidance_in.in_layer.weight") !== undefined;
  const transformer: FluxTransformer2DConfig = {
    _class_name: "FluxTransformer2DModel",
    in_channels,
    out_channels: shapeIn(file, "final_layer.linear.weight")?.[0],
    num_layers: countIn(file, /double_blocks\.(\d+)\./).length,
    num_single_layers: countIn(file, /single_blocks\.(\d+)\./).length,
    attention_head_dim: HEAD,
    num_attention_heads: width / HEAD,
    joint_attention_dim: context,
    pooled_projection_dim: shapeIn(file, "vector_in.in_layer.weight")?.[1] ?? 0,
    guidance_embeds,
    axes_dims_rope: AXES,
  };
  return { transformer, ...beside(guidance_embeds) };
}

/** FLUX.1-dev. */
const published = {
  transformer: {
    _class_name: "FluxTransformer2DModel",
    patch_size: 1,
    in_channels: 64,
    num_layers: 19,
    num_single_layers: 38,
    attention_head_dim: HEAD,
    num_attention_heads: 24,
    joint_attention_dim: 4096,
    pooled_projection_dim: 768,
    guidance_embeds: true,
    axes_dims_rope: AXES,
  } satisfies FluxTransformer2DConfig,
  ...beside(true),
};

/** FLUX.1-dev, schnell, and models made of them. */
export const flux = {
  name: "flux",
  title: "FLUX.1",
  pipelines: ["FluxPipeline"],
  parts: {
    transformer: transformerPart(FluxTransformer2DModel, {
      modules: fluxModules,
      bare: {
        pattern: /^(double_blocks|single_blocks|final_layer|img_in|txt_in|time_in|vector_in|guidance_in)\./,
        written: true,
      },
    }),
    vae: vaePart({ prefix: "vae.", alsoRead: ["first_stage_model."] }),
    text_encoder: clipPart("text_encoders.clip_l.transformer.", ["lora_te1_", "lora_te_"]),
    text_encoder_2: t5Part({ optional: false }),
  },
  tokenizers: { tokenizer: CLIP_TOKENIZERS, tokenizer_2: T5_TOKENIZERS },
  denoiser: "transformer",
  published,
  sharedInParts: true,
  loraMatrices: "lora_A",
  loraTargets: JOINT_ATTENTION_TARGETS,
  metadata: {
    architecture: "flux-1-dev",
    implementation: "https://github.com/black-forest-labs/flux",
    resolution: [1024, 1024],
    baseModelVersion: "flux1",
  },
  isDenoiser: (model) => model instanceof FluxTransformer2DModel,
  isSingleFile: (file) => file.keys().some((name) => /(^|\.)double_blocks\.0\./.test(name)),
  configsOf,
  isLora: (file) => {
    const names = file.keys();
    if (
      names.some((name) => /(^|[._])(double_blocks|single_blocks|single_transformer_blocks)[._]/.test(name))
    )
      return true;
    const down = names.find((name) =>
      /(^|[._])transformer_blocks[._]\d+[._]attn[._](to|add)_.*(lora_A|lora_down)\b/.test(name),
    );
    return down !== undefined && file.info(down).shape[1] === HEAD * 24;
  },
  load: (folder, options) => Flux.load(folder, options),
  assemble: ({ models, tokenizer, t5Tokenizer, schedulerConfig }) => {
    const { transformer, vae, text_encoder, text_encoder_2 } = models as Flux["models"];
    return new Flux({
      ...{ transformer, vae, textEncoder: text_encoder, textEncoder2: text_encoder_2 },
      ...{ tokenizer: tokenizer("tokenizer"), tokenizer2: t5Tokenizer("tokenizer_2") },
      schedulerConfig,
    });
  },
} as const satisfies Family;
