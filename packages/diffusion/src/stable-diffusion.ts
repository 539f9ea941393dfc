import { cpSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { type DType, scope, type Tensor, writeFileAtomic } from "@spo/torch";
import type { AutoencoderKL } from "./autoencoder-kl.js";
import type { CLIPTextModel } from "./clip-text.js";
import { type ClipTokenizer, loadTokenizer } from "./clip-tokenizer.js";
import { readJson } from "./config.js";
import type { GuidedConditions } from "./guidance.js";
import { loadTextEncoder, loadUnet, loadVae, saveModel } from "./model-folder.js";
import { readModelIndex } from "./model-index.js";
import { NoiseSchedule, type SchedulerConfig } from "./noise-schedule.js";
import type { EncodeOptions, LoadOptions, TextToImage } from "./text-to-image.js";
import type { UNet2DConditionModel } from "./unet-2d-condition.js";

export interface StableDiffusionParts {
  /** Folder that the tokenizer came from; its files are copied when the pipeline is saved. */
  tokenizerFolder: string;
  tokenizer: ClipTokenizer;
  textEncoder: CLIPTextModel;
  unet: UNet2DConditionModel;
  vae: AutoencoderKL;
  schedulerConfig?: SchedulerConfig;
}

/** A Stable Diffusion 1.x model: text to context, context to latents, latents to pixels. */
export class StableDiffusion implements TextToImage {
  readonly tokenizer: ClipTokenizer;
  readonly textEncoder: CLIPTextModel;
  readonly unet: UNet2DConditionModel;
  readonly vae: AutoencoderKL;
  readonly schedule: NoiseSchedule;
  readonly #parts: StableDiffusionParts;

  constructor(parts: StableDiffusionParts) {
    this.#parts = parts;
    this.tokenizer = parts.tokenizer;
    this.textEncoder = parts.textEncoder;
    this.unet = parts.unet;
    this.vae = parts.vae;
    this.schedule = new NoiseSchedule(parts.schedulerConfig);
  }

  /**
   * Loads a folder in diffusers layout. The text encoder and VAE come in float32, the UNet in `dtype`.
   *
   * Throws UserErrors for what is missing, damaged, or of a family that is not supported.
   */
  static load(folder: string, { dtype = "float32", device }: LoadOptions = {}): StableDiffusion {
    readModelIndex(folder, ["StableDiffusionPipeline"]);
    return new StableDiffusion({
      tokenizerFolder: join(folder, "tokenizer"),
      tokenizer: loadTokenizer(join(folder, "tokenizer")),
      textEncoder: loadTextEncoder(join(folder, "text_encoder"), { device }),
      unet: loadUnet(join(folder, "unet"), { dtype, device }),
      vae: loadVae(join(folder, "vae"), { device }),
      schedulerConfig: readJson(join(folder, "scheduler", "scheduler_config.json")) as SchedulerConfig,
    });
  }

  /** Writes the folder that `load` reads and diffusers' `from_pretrained` too. */
  save(folder: string, { dtype }: { dtype?: DType } = {}): void {
    mkdirSync(join(folder, "scheduler"), { recursive: true });
    saveModel(join(folder, "vae"), this.vae, { dtype });
    saveModel(join(folder, "unet"), this.unet, { dtype });
    saveModel(join(folder, "text_encoder"), this.textEncoder, { dtype });
    const target = join(folder, "tokenizer");
    if (this.#parts.tokenizerFolder !== target)
      cpSync(this.#parts.tokenizerFolder, target, { recursive: true });
    const scheduler = { _class_name: "DDIMScheduler", ...this.schedule.config, clip_sample: false };
    writeFileAtomic(
      join(folder, "scheduler", "scheduler_config.json"),
      `${JSON.stringify(scheduler, null, 2)}\n`,
    );
    const index = {
      _class_name: "StableDiffusionPipeline",
      _diffusers_version: "0.42.1",
      feature_extractor: [null, null],
      image_encoder: [null, null],
      requires_safety_checker: false,
      safety_checker: [null, null],
      scheduler: ["diffusers", "DDIMScheduler"],
      text_encoder: ["transformers", "CLIPTextModel"],
      tokenizer: ["transformers", "CLIPTokenizer"],
      unet: ["diffusers", "UNet2DConditionModel"],
      vae: ["diffusers", "AutoencoderKL"],
    };
    // Last, so that a folder with an index is whole.
    writeFileAtomic(join(folder, "model_index.json"), `${JSON.stringify(index, null, 2)}\n`);
  }

  /** Prompts → context [n, L, d]. */
  encodePrompts(prompts: readonly string[]): Tensor {
    return scope(() => this.textEncoder.forward(this.tokenizer.encodeBatch(prompts)).lastHiddenState);
  }

  tokenize(prompts: readonly string[]): Tensor[] {
    return [this.tokenizer.encodeBatch(prompts)];
  }

  encode(prompts: readonly string[], { negativePrompt = "" }: Partial<EncodeOptions> = {}): GuidedConditions {
    const conditional = { context: this.encodePrompts(prompts) };
    const unconditional = { context: this.encodePrompts(prompts.map(() => negativePrompt)) };
    return { conditional, unconditional };
  }

  /** The same model with another scheduler config: other betas, timesteps or kind of prediction. */
  withScheduler(schedulerConfig: SchedulerConfig): StableDiffusion {
    return new StableDiffusion({ ...this.#parts, schedulerConfig });
  }
}
