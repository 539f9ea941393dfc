import { join } from "node:path";
import { cat, scope, type Tensor, tensor, UserError, zerosLike } from "@spo/torch";
import {
  besideDenoiser,
  loadTextEncoder,
  loadTextEncoderWithProjection,
  loadUnet,
  loadVae,
} from "../layouts/model-folder.js";
import { readModelIndex } from "../layouts/model-index.js";
import { type SaveOptions, savePipelineFolder } from "../layouts/pipeline-folder.js";
import { readScheduler } from "../layouts/read-scheduler.js";
import { ATTENTION_TARGETS } from "../models/attention.js";
import type { AutoencoderKL } from "../models/autoencoder-kl.js";
import {
  type CLIPTextConfig,
  type CLIPTextModel,
  type CLIPTextModelWithProjection,
  idsTensor,
} from "../models/clip-text.js";
import type { GuidedConditions } from "../models/conditions.js";
import { UNet2DConditionModel } from "../models/unet-2d-condition.js";
import type { VpSchedule } from "../process/vp-schedule.js";
import { type PromptChunk, PromptChunker, promptContexts } from "../prompts/prompt-chunks.js";
import type { PromptSyntax } from "../prompts/prompt-weights.js";
import { weightedStates } from "../prompts/weighted-states.js";
import { CheckpointSchedule, type SchedulerSource } from "../samplers/checkpoint-schedule.js";
import type { SchedulerConfig } from "../samplers/scheduler-config.js";
import { type ClipTokenizer, loadTokenizer } from "../tokenizer/clip-tokenizer.js";
import type { EncodeOptions, Family, LoadOptions, TextToImage } from "./family.js";
import { CLIP_BIG_G, CLIP_L, publishedVae, SCHEDULE } from "./published-parts.js";
import {
  CLIP_TOKENIZERS,
  clipPart,
  crossAttentionWidth,
  openClipPart,
  originalName,
  unetPart,
  unetSignature,
  vaePart,
} from "./shared-parts.js";
import type { StableDiffusionConfigs } from "./stable-diffusion.js";
import { requireKnownIds, requireTextFits } from "./text-fits.js";
import { requireTextOnly } from "./text-only.js";

/** The parts of an SDXL pipeline, named as the folders of its checkpoint are. */
export interface StableDiffusionXLParts {
  tokenizer: ClipTokenizer;
  /** Pads with `!`, unlike the first. */
  tokenizer2: ClipTokenizer;
  textEncoder: CLIPTextModel;
  textEncoder2: CLIPTextModelWithProjection;
  unet: UNet2DConditionModel;
  vae: AutoencoderKL;
  /** As it is written when the pipeline is saved. */
  schedulerConfig?: SchedulerConfig;
  /** Where `schedulerConfig` comes from; absent: it is taken as it is. */
  schedulerSource?: SchedulerSource;
  /** No negative prompt means zeros (the published models), not the encoding of the empty text. */
  forceZeros?: boolean;
}

/** Conditions of SDXL's UNet. */
type SDXLConditions = { context: Tensor; textEmbeds: Tensor; timeIds: Tensor };

/** SDXL: two text encoders, whose states stand side by side, and a UNet that is told the image's size. Source: Podell et al. 2023. */
export class StableDiffusionXL implements TextToImage {
  readonly denoiser: UNet2DConditionModel;
  readonly vae: AutoencoderKL;
  readonly guidanceScale = 7.5;
  readonly schedule: CheckpointSchedule;
  readonly #parts: StableDiffusionXLParts;
  readonly #chunkers: readonly [PromptChunker, PromptChunker];

  /** Throws a UserError for a UNet that wants more than noise, texts and sizes. */
  constructor(parts: StableDiffusionXLParts) {
    requireTextOnly(parts.unet, parts.vae, parts.textEncoder2.projectionDim);
    requireTextFits(parts.tokenizer, parts.textEncoder, "tokenizer");
    requireTextFits(parts.tokenizer2, parts.textEncoder2, "tokenizer_2");
    if (parts.tokenizer.modelMaxLength !== parts.tokenizer2.modelMaxLength)
      throw new UserError(
        `tokenizer makes ${parts.tokenizer.modelMaxLength} tokens (model_max_length) and tokenizer_2 ${parts.tokenizer2.modelMaxLength}; their states stand side by side.`,
        { code: "CONFIG", hint: "Give the tokenizers of one model." },
      );
    this.#parts = parts;
    this.denoiser = parts.unet;
    this.vae = parts.vae;
    this.schedule = new CheckpointSchedule(parts.schedulerConfig, parts.schedulerSource);
    this.#chunkers = [new PromptChunker(parts.tokenizer), new PromptChunker(parts.tokenizer2)];
  }

  /**
   * Loads a folder in diffusers layout. The text encoders and VAE come in float32, the UNet in `dtype`.
   *
   * Throws UserErrors for what is missing, damaged, or of another family.
   */
  static load(folder: string, options: LoadOptions = {}): StableDiffusionXL {
    const index = readModelIndex(folder, [stableDiffusionXL]);
    const { pipeline } = index;
    const { config: schedulerConfig, path } = readScheduler(folder, index);
    return new StableDiffusionXL({
      tokenizer: loadTokenizer(join(folder, "tokenizer")),
      tokenizer2: loadTokenizer(join(folder, "tokenizer_2")),
      textEncoder: loadTextEncoder(join(folder, "text_encoder"), besideDenoiser(options)),
      textEncoder2: loadTextEncoderWithProjection(join(folder, "text_encoder_2"), besideDenoiser(options)),
      unet: loadUnet(join(folder, "unet"), options),
      vae: loadVae(join(folder, "vae"), besideDenoiser(options)),
      schedulerConfig,
      schedulerSource: { pipeline, path },
      forceZeros: index.force_zeros_for_empty_prompt ?? true,
    });
  }

  /** The parts that it was made of. */
  get parts(): Readonly<StableDiffusionXLParts> {
    return this.#parts;
  }

  /** The first text encoder's. */
  get tokenizer(): ClipTokenizer {
    return this.#parts.tokenizer;
  }

  /** The process as DDIM's class reads the scheduler's config: trainings noise and step by it. */
  get process(): VpSchedule {
    return this.schedule.for("ddim");
  }

  get family(): Family {
    return stableDiffusionXL;
  }

  /** The models under the names of diffusers' folders. */
  get models() {
    const { textEncoder: text_encoder, textEncoder2: text_encoder_2 } = this.#parts;
    return { unet: this.denoiser, vae: this.vae, text_encoder, text_encoder_2 };
  }

  /** Writes the folder that `load` and diffusers' `from_pretrained` read, with the scheduler that it came with. Fuse adapters first. */
  save(folder: string, options: SaveOptions = {}): void {
    const { tokenizer, tokenizer2, schedulerConfig: scheduler = {}, forceZeros } = this.#parts;
    const index = {
      _class_name: stableDiffusionXL.pipelines[0],
      ...{ feature_extractor: [null, null], image_encoder: [null, null] },
      force_zeros_for_empty_prompt: forceZeros ?? true,
    };
    const tokenizers = { tokenizer, tokenizer_2: tokenizer2 };
    savePipelineFolder(folder, { models: this.models, tokenizers, scheduler, index }, options);
  }

  /** The same model with another scheduler config: other betas, timesteps or kind of prediction. */
  withScheduler(schedulerConfig: SchedulerConfig): StableDiffusionXL {
    return new StableDiffusionXL({ ...this.#parts, schedulerConfig, schedulerSource: undefined });
  }

  tokenize(prompts: readonly string[]): Tensor[] {
    const { tokenizer, tokenizer2, textEncoder, textEncoder2 } = this.#parts;
    return [
      tokenizer.encodeBatch(prompts, (ids) => requireKnownIds(ids, prompts, textEncoder)),
      tokenizer2.encodeBatch(prompts, (ids) => requireKnownIds(ids, prompts, textEncoder2)),
    ];
  }

  /**
   * Prompts → context [n, L, d + d₂], or k contexts one after the other where the syntax makes them: the states before the last layer of
   * both encoders, no final norm; and the second one's projected state at the end token of the first context [n, p].
   */
  encodePrompts(
    prompts: readonly string[],
    syntax: PromptSyntax = "plain",
  ): { context: Tensor; pooled: Tensor } {
    const { textEncoder, textEncoder2 } = this.#parts;
    const encoded = (encoder: CLIPTextModel, rows: readonly PromptChunk[]) => {
      requireKnownIds(
        rows.flatMap(({ ids }) => ids),
        prompts,
        encoder,
      );
      const { hiddenStates, pooled } = encoder.forward(idsTensor(rows.map(({ ids }) => ids)));
      const weights = rows.map((row) => row.weights);
      return { states: weightedStates(hiddenStates.at(-2) as Tensor, weights), pooled };
    };
    return scope(() => {
      const second = promptContexts(this.#chunkers[1], prompts, syntax);
      const contexts = promptContexts(this.#chunkers[0], prompts, syntax).map((rows, i) => {
        const one = encoded(textEncoder, rows);
        const two = encoded(textEncoder2, second[i] as PromptChunk[]);
        return { context: cat([one.states, two.states], -1), pooled: two.pooled };
      });
      const [first] = contexts as [{ context: Tensor; pooled: Tensor }];
      if (contexts.length === 1) return first;
      return {
        context: cat(
          contexts.map(({ context }) => context),
          1,
        ),
        pooled: first.pooled,
      };
    });
  }

  encode(
    prompts: readonly string[],
    { negativePrompt, size, syntax }: EncodeOptions,
  ): GuidedConditions<SDXLConditions> {
    return scope(() => {
      const { context, pooled } = this.encodePrompts(prompts, syntax);
      const timeIds = sizeIds(size, prompts.length, pooled);
      const withSize = ({ context, pooled }: { context: Tensor; pooled: Tensor }): SDXLConditions => ({
        context,
        textEmbeds: pooled,
        timeIds,
      });
      const zeros = negativePrompt === undefined && (this.#parts.forceZeros ?? true);
      const away = zeros
        ? { context: zerosLike(context), pooled: zerosLike(pooled) }
        : this.encodePrompts(
            prompts.map(() => negativePrompt ?? ""),
            syntax,
          );
      return { conditional: withSize({ context, pooled }), unconditional: withSize(away) };
    });
  }
}

/** Original height and width, crop top and left, target height and width, in pixels: an uncropped image of that size. [n, 6] */
function sizeIds([height, width]: readonly [number, number], n: number, like: Tensor): Tensor {
  const row = [height, width, 0, 0, height, width];
  return tensor(
    Array.from({ length: n }, () => row),
    { device: like.device },
  );
}

/** The config.json of each model of SDXL. */
export interface StableDiffusionXLConfigs extends StableDiffusionConfigs {
  text_encoder_2: CLIPTextConfig;
}

/** SDXL base 1.0. */
const published: StableDiffusionXLConfigs = {
  unet: {
    sample_size: 128,
    in_channels: 4,
    out_channels: 4,
    block_out_channels: [320, 640, 1280],
    layers_per_block: 2,
    down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    cross_attention_dim: 2048,
    attention_head_dim: [5, 10, 20],
    transformer_layers_per_block: [1, 2, 10],
    use_linear_projection: true,
    norm_num_groups: 32,
    addition_embed_type: "text_time",
    addition_time_embed_dim: 256,
    projection_class_embeddings_input_dim: 2816,
  },
  vae: publishedVae(0.13025, 1024),
  text_encoder: CLIP_L,
  text_encoder_2: CLIP_BIG_G,
  scheduler: {
    _class_name: "EulerDiscreteScheduler",
    skip_prk_steps: true, // as published, though Euler has no such steps: for a change to PNDM
    ...SCHEDULE,
    timestep_spacing: "leading",
  },
};

/** Names that only SDXL's LoRA have: of its second text encoder, and of what the UNet is told of sizes. */
const ONLY_SDXL = /^lora_te2_|(^|\.)(text_encoder_2|clip_g)\.|label_emb|add_embedding/;

/** SDXL and models distilled from it. */
export const stableDiffusionXL = {
  name: "sdxl",
  title: "SDXL",
  pipelines: ["StableDiffusionXLPipeline"],
  parts: {
    // kohya's own trainer has the UNet's original block names here (`input_blocks_3_1_…`), and those of diffusers for SD1.5.
    unet: unetPart({ kohyaName: originalName }),
    vae: vaePart(),
    text_encoder: clipPart("conditioner.embedders.0.transformer.", ["lora_te1_", "lora_te_"]),
    text_encoder_2: openClipPart("conditioner.embedders.1.model.", ["lora_te2_"]),
  },
  tokenizers: { tokenizer: CLIP_TOKENIZERS, tokenizer_2: CLIP_TOKENIZERS },
  denoiser: "unet",
  published,
  loraMatrices: "lora.down",
  loraTargets: ATTENTION_TARGETS,
  metadata: {
    architecture: "stable-diffusion-xl-v1-base",
    implementation: "https://github.com/Stability-AI/generative-models",
    resolution: [1024, 1024],
    baseModelVersion: "sdxl_base_v1-0",
  },
  isDenoiser: (model) => model instanceof UNet2DConditionModel && model.add_embedding !== undefined,
  isSingleFile: (file) =>
    file.keys().some((name) => name.startsWith("conditioner.")) || (unetSignature(file)?.conditions ?? 0) > 0,
  configsOf: (file) => {
    const { width, inputs, context, conditions } = unetSignature(file) ?? {};
    return width === 320 && inputs === 4 && context === 2048 && conditions === 2816 ? published : undefined;
  },
  isLora: (file) => crossAttentionWidth(file) === 2048 || file.keys().some((name) => ONLY_SDXL.test(name)),
  load: (folder, options) => StableDiffusionXL.load(folder, options),
  assemble: ({ models, tokenizer, ...scheduling }) => {
    const { unet, vae, text_encoder, text_encoder_2 } = models as StableDiffusionXL["models"];
    return new StableDiffusionXL({
      ...{ unet, vae, textEncoder: text_encoder, textEncoder2: text_encoder_2 },
      ...{ tokenizer: tokenizer("tokenizer"), tokenizer2: tokenizer("tokenizer_2", "!") },
      ...scheduling,
    });
  },
} as const satisfies Family;
