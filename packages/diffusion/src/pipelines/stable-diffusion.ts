import { join } from "node:path";
import { cat, scope, type Tensor } from "@spo/torch";
import { loadTextEncoder, loadUnet, loadVae } from "../layouts/model-folder.js";
import { readModelIndex } from "../layouts/model-index.js";
import { type SaveOptions, savePipelineFolder } from "../layouts/pipeline-folder.js";
import { readScheduler, repairedUnet, repairedVae } from "../layouts/pipeline-repairs.js";
import type { PipelineModels } from "../layouts/single-file.js";
import type { AutoencoderKL } from "../models/autoencoder-kl.js";
import { type CLIPTextModel, idsTensor } from "../models/clip-text.js";
import type { UNet2DConditionModel } from "../models/unet-2d-condition.js";
import type { VpSchedule } from "../process/vp-schedule.js";
import { PromptChunker, promptContexts } from "../prompts/prompt-chunks.js";
import type { PromptSyntax } from "../prompts/prompt-weights.js";
import { weightedStates } from "../prompts/weighted-states.js";
import { CheckpointSchedule } from "../samplers/checkpoint-schedule.js";
import type { SchedulerConfig } from "../samplers/scheduler-config.js";
import { type ClipTokenizer, loadTokenizer } from "../tokenizer/clip-tokenizer.js";
import type { GuidedConditions } from "./conditions.js";
import { requireKnownIds, requireTextFits } from "./text-fits.js";
import { requireTextOnly } from "./text-only.js";
import { besideDenoiser, type EncodeOptions, type LoadOptions, type TextToImage } from "./text-to-image.js";

/** The parts of a Stable Diffusion pipeline, named as the folders of its checkpoint are. */
export interface StableDiffusionParts {
  tokenizer: ClipTokenizer;
  textEncoder: CLIPTextModel;
  unet: UNet2DConditionModel;
  vae: AutoencoderKL;
  /** As it is written when the pipeline is saved. */
  schedulerConfig?: SchedulerConfig;
  /** Default: that of `schedulerConfig`, taken as it is. */
  schedule?: CheckpointSchedule;
}

/** A Stable Diffusion 1.x or 2.x model: text to context, context to latents, latents to pixels. */
export class StableDiffusion implements TextToImage {
  readonly tokenizer: ClipTokenizer;
  readonly textEncoder: CLIPTextModel;
  readonly denoiser: UNet2DConditionModel;
  readonly vae: AutoencoderKL;
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
    this.schedule = parts.schedule ?? new CheckpointSchedule(parts.schedulerConfig);
    this.#chunker = new PromptChunker(parts.tokenizer);
  }

  /**
   * Loads a folder in diffusers layout. The text encoder and VAE come in float32, the UNet in `dtype`.
   *
   * Throws UserErrors for what is missing, damaged, or of a family that is not supported.
   */
  static load(folder: string, options: LoadOptions = {}): StableDiffusion {
    const index = readModelIndex(folder, ["StableDiffusionPipeline"]);
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
      schedule: new CheckpointSchedule(schedulerConfig, { pipeline, path }),
    });
  }

  /** The process as DDIM's class reads the scheduler's config: trainings noise and step by it. */
  get process(): VpSchedule {
    return this.schedule.for("ddim");
  }

  /** The models under the names of diffusers' folders. */
  get models(): PipelineModels {
    return { unet: this.denoiser, vae: this.vae, text_encoder: this.textEncoder };
  }

  /** Writes the folder that `load` reads and diffusers' `from_pretrained` too, with the scheduler that it came with. Fuse adapters first. */
  save(folder: string, options: SaveOptions = {}): void {
    const { tokenizer, schedulerConfig: scheduler = {} } = this.#parts;
    savePipelineFolder(folder, { models: this.models, tokenizer, scheduler }, options);
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
    return new StableDiffusion({ ...this.#parts, schedulerConfig, schedule: undefined });
  }
}
