import { join } from "node:path";
import { cat, scope, type Tensor } from "@spo/torch";
import { warn } from "@spo/torch/warnings";
import { besideDenoiser, loadTextEncoder, loadUnet, loadVae } from "../layouts/model-folder.js";
import { readModelIndex } from "../layouts/model-index.js";
import { type SaveOptions, savePipelineFolder } from "../layouts/pipeline-folder.js";
import { readScheduler } from "../layouts/read-scheduler.js";
import { ATTENTION_TARGETS } from "../models/attention.js";
import type { AutoencoderKL, AutoencoderKLConfig } from "../models/autoencoder-kl.js";
import { type CLIPTextConfig, type CLIPTextModel, idsTensor } from "../models/clip-text.js";
import type { GuidedConditions } from "../models/conditions.js";
import { type UNet2DConditionConfig, UNet2DConditionModel } from "../models/unet-2d-condition.js";
import type { VpSchedule } from "../process/vp-schedule.js";
import { PromptChunker, promptContexts } from "../prompts/prompt-chunks.js";
import type { PromptSyntax } from "../prompts/prompt-weights.js";
import { weightedStates } from "../prompts/weighted-states.js";
import { CheckpointSchedule, type SchedulerSource } from "../samplers/checkpoint-schedule.js";
import type { SchedulerConfig } from "../samplers/scheduler-config.js";
import { type ClipTokenizer, loadTokenizer } from "../tokenizer/clip-tokenizer.js";
import type { EncodeOptions, Family, LoadOptions, PipelineConfigs, TextToImage } from "./family.js";
import { CLIP_L, publishedVae, SCHEDULE } from "./published-parts.js";
import {
  CLIP_TOKENIZERS,
  clipPart,
  crossAttentionWidth,
  unetPart,
  unetSignature,
  vaePart,
} from "./shared-parts.js";
import { requireKnownIds, requireTextFits } from "./text-fits.js";
import { requireTextOnly } from "./text-only.js";

/** The parts of a Stable Diffusion pipeline, named as the folders of its checkpoint are. */
export interface StableDiffusionParts {
  tokenizer: ClipTokenizer;
  textEncoder: CLIPTextModel;
  unet: UNet2DConditionModel;
  vae: AutoencoderKL;
  /** As it is written when the pipeline is saved. */
  schedulerConfig?: SchedulerConfig;
  /** Where `schedulerConfig` comes from; absent: it is taken as it is. */
  schedulerSource?: SchedulerSource;
}

/** A Stable Diffusion 1.x or 2.x model: text to context, context to latents, latents to pixels. */
export class StableDiffusion implements TextToImage {
  readonly tokenizer: ClipTokenizer;
  readonly textEncoder: CLIPTextModel;
  readonly denoiser: UNet2DConditionModel;
  readonly vae: AutoencoderKL;
  readonly guidanceScale = 7.5;
  readonly schedule: CheckpointSchedule;
  readonly #parts: StableDiffusionParts;
  readonly #chunker: PromptChunker;

  /** Throws a UserError for a UNet that wants more than noise and a text. */
  constructor(parts: StableDiffusionParts) {
    requireTextOnly(parts.unet, parts.vae);
    requireTextFits(parts.tokenizer, parts.textEncoder, "tokenizer");
    this.#parts = parts;
    this.tokenizer = parts.tokenizer;
    this.textEncoder = parts.textEncoder;
    this.denoiser = parts.unet;
    this.vae = parts.vae;
    this.schedule = new CheckpointSchedule(parts.schedulerConfig, parts.schedulerSource);
    this.#chunker = new PromptChunker(parts.tokenizer);
  }

  /**
   * Loads a folder in diffusers layout. The text encoder and VAE come in float32, the UNet in `dtype`.
   *
   * Throws UserErrors for what is missing, damaged, or of a family that is not supported.
   */
  static load(folder: string, options: LoadOptions = {}): StableDiffusion {
    const index = readModelIndex(folder, [stableDiffusion]);
    const { pipeline } = index;
    const { config: schedulerConfig, path } = readScheduler(folder, index);
    return new StableDiffusion({
      tokenizer: loadTokenizer(join(folder, "tokenizer")),
      textEncoder: loadTextEncoder(join(folder, "text_encoder"), besideDenoiser(options)),
      unet: loadUnet(join(folder, "unet"), options, (config, at) => repairedUnet(config, pipeline, at)),
      vae: loadVae(join(folder, "vae"), besideDenoiser(options), (config, at) =>
        repairedVae(config, pipeline, at),
      ),
      schedulerConfig,
      schedulerSource: { pipeline, path },
    });
  }

  /** The process as DDIM's class reads the scheduler's config: trainings noise and step by it. */
  get process(): VpSchedule {
    return this.schedule.for("ddim");
  }

  get family(): Family {
    return stableDiffusion;
  }

  /** The models under the names of diffusers' folders. */
  get models() {
    return { unet: this.denoiser, vae: this.vae, text_encoder: this.textEncoder };
  }

  /** Writes the folder that `load` and diffusers' `from_pretrained` read, with the scheduler that it came with. Fuse adapters first. */
  save(folder: string, options: SaveOptions = {}): void {
    const { tokenizer, schedulerConfig: scheduler = {} } = this.#parts;
    const index = {
      _class_name: stableDiffusion.pipelines[0],
      ...{ feature_extractor: [null, null], image_encoder: [null, null] },
      ...{ requires_safety_checker: false, safety_checker: [null, null] },
    };
    savePipelineFolder(folder, { models: this.models, tokenizers: { tokenizer }, scheduler, index }, options);
  }

  /** Prompts → context [n, L, d], or [n, k·L, d] where the syntax makes k contexts of them. */
  encodePrompts(prompts: readonly string[], syntax: PromptSyntax = "plain"): Tensor {
    return scope(() => {
      const contexts = promptContexts(this.#chunker, prompts, syntax).map((rows) => {
        requireKnownIds(
          rows.flatMap(({ ids }) => ids),
          prompts,
          this.textEncoder,
        );
        const { lastHiddenState } = this.textEncoder.forward(idsTensor(rows.map(({ ids }) => ids)));
        return weightedStates(
          lastHiddenState,
          rows.map(({ weights }) => weights),
        );
      });
      return contexts.length === 1 ? (contexts[0] as Tensor) : cat(contexts, 1);
    });
  }

  tokenize(prompts: readonly string[]): Tensor[] {
    return [this.tokenizer.encodeBatch(prompts, (ids) => requireKnownIds(ids, prompts, this.textEncoder))];
  }

  encode(
    prompts: readonly string[],
    { negativePrompt = "", syntax }: Partial<EncodeOptions> = {},
  ): GuidedConditions<{ context: Tensor }> {
    const conditional = { context: this.encodePrompts(prompts, syntax) };
    const unconditional = {
      context: this.encodePrompts(
        prompts.map(() => negativePrompt),
        syntax,
      ),
    };
    return { conditional, unconditional };
  }

  /** The same model with another scheduler config: other betas, timesteps or kind of prediction. */
  withScheduler(schedulerConfig: SchedulerConfig): StableDiffusion {
    return new StableDiffusion({ ...this.#parts, schedulerConfig, schedulerSource: undefined });
  }
}

/** The config.json of each model of Stable Diffusion. */
export interface StableDiffusionConfigs extends PipelineConfigs {
  unet: UNet2DConditionConfig;
  vae: AutoencoderKLConfig;
  text_encoder: CLIPTextConfig;
}

/** Stable Diffusion 1.5. */
const published: StableDiffusionConfigs = {
  unet: {
    sample_size: 64,
    in_channels: 4,
    out_channels: 4,
    block_out_channels: [320, 640, 1280, 1280],
    layers_per_block: 2,
    down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    cross_attention_dim: 768,
    attention_head_dim: 8,
    norm_num_groups: 32,
  },
  vae: publishedVae(0.18215, 512),
  text_encoder: CLIP_L,
  scheduler: { _class_name: "PNDMScheduler", skip_prk_steps: true, ...SCHEDULE },
};

/** Stable Diffusion 1.x and 2.x, and models distilled from it. */
export const stableDiffusion = {
  name: "sd15",
  title: "Stable Diffusion 1.5",
  pipelines: ["StableDiffusionPipeline", "LatentConsistencyModelPipeline"],
  parts: {
    unet: unetPart({
      repaired: (config, pipeline, path) => repairedUnet(config as UNet2DConditionConfig, pipeline, path),
    }),
    vae: vaePart({
      repaired: (config, pipeline, path) => repairedVae(config as AutoencoderKLConfig, pipeline, path),
    }),
    text_encoder: clipPart("cond_stage_model.transformer.", ["lora_te_", "lora_te1_"]),
  },
  tokenizers: { tokenizer: CLIP_TOKENIZERS },
  denoiser: "unet",
  published,
  loraMatrices: "lora.down",
  loraTargets: ATTENTION_TARGETS,
  metadata: {
    architecture: "stable-diffusion-v1",
    implementation: "diffusers",
    resolution: [512, 512],
    baseModelVersion: "sd_v1",
  },
  isDenoiser: (model) => model instanceof UNet2DConditionModel && !model.add_embedding,
  isSingleFile: (file) =>
    unetSignature(file) !== undefined && file.keys().some((name) => name.startsWith("cond_stage_model.")),
  configsOf: (file) => {
    const { width, inputs, context, conditions } = unetSignature(file) ?? {};
    return width === 320 && inputs === 4 && context === 768 && conditions === 0 ? published : undefined;
  },
  isLora: (file) => crossAttentionWidth(file) === 768,
  load: (folder, options) => StableDiffusion.load(folder, options),
  assemble: ({ models, tokenizer, ...scheduling }) => {
    const { unet, vae, text_encoder: textEncoder } = models as StableDiffusion["models"];
    return new StableDiffusion({ unet, vae, textEncoder, tokenizer: tokenizer("tokenizer"), ...scheduling });
  },
} as const satisfies Family;

/**
 * The UNet's config as a pipeline has it: one that diffusers before 0.9 wrote with a `sample_size` below 64 has 64.
 *
 * path: of the file, for the warning. Source: diffusers StableDiffusionPipeline; SDXL's leaves it.
 */
function repairedUnet(config: UNet2DConditionConfig, pipeline: string, path: string): UNet2DConditionConfig {
  const { sample_size: size, _diffusers_version: version } = config;
  if (pipeline !== "StableDiffusionPipeline" || typeof size !== "number" || size >= 64) return config;
  if (typeof version !== "string" || !isBefore(version, [0, 9])) return config;
  warn(
    `${path}: sample_size ${size} is read as 64, as diffusers' ${pipeline} does with what version ${version} wrote. Write it so into the file.`,
  );
  return { ...config, sample_size: 64 };
}

/** Whether the first numbers of a version are below others; one that has none is not. */
function isBefore(version: string, [major, minor]: readonly [number, number]): boolean {
  const [, first, second] = /^v?(\d+)(?:\.(\d+))?/.exec(version.trim()) ?? [];
  if (first === undefined) return false;
  return Number(first) < major || (Number(first) === major && Number(second ?? 0) < minor);
}

/** The VAE's config as a pipeline has it: Stable Diffusion's ignores the latents' statistics. Source: diffusers StableDiffusionPipeline. */
function repairedVae(config: AutoencoderKLConfig, pipeline: string, path: string): AutoencoderKLConfig {
  if (pipeline === "StableDiffusionXLPipeline" || !(config.latents_mean || config.latents_std)) return config;
  warn(`${path}: latents_mean and latents_std are not used, as diffusers' ${pipeline} does not use them.`);
  return { ...config, latents_mean: null, latents_std: null };
}
