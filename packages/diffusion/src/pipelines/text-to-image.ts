import type { Device, DType, Tensor } from "@spo/torch";
import type { PipelineModels } from "../layouts/single-file.js";
import type { AutoencoderKL } from "../models/autoencoder-kl.js";
import type { DenoiserModel } from "../models/denoiser-model.js";
import type { NoiseProcess } from "../process/noise-process.js";
import type { PromptSyntax } from "../prompts/prompt-weights.js";
import type { CheckpointSchedule } from "../samplers/checkpoint-schedule.js";
import type { GuidedConditions } from "./conditions.js";

/** What a prompt is encoded for. */
export interface EncodeOptions {
  /** What guidance goes away from. Absent: the empty text, or for SDXL zeros. */
  negativePrompt?: string;
  /** How prompts are read, the negative one too. Default plain: each letter is a letter, and what is beyond 75 tokens is cut off. */
  syntax?: PromptSyntax;
  /** Height and width of the image in pixels: SDXL is told them. */
  size: readonly [height: number, width: number];
}

/** A model that makes images of texts, of any family. */
export interface TextToImage {
  readonly denoiser: DenoiserModel;
  readonly vae: AutoencoderKL;
  /** For samplers. */
  readonly schedule: CheckpointSchedule;
  /** What trainings noise and step by. */
  readonly process: NoiseProcess;
  /** All of its models under the names of diffusers' folders. */
  readonly models: PipelineModels;
  /** Token ids of prompts by each tokenizer, int64 [n, L]. */
  tokenize(prompts: readonly string[]): Tensor[];
  /** What the denoiser is told about n prompts, and what guidance goes away from; n rows each. */
  encode(prompts: readonly string[], options: EncodeOptions): GuidedConditions;
}

/** How a pipeline is placed. */
export interface LoadOptions {
  /** Of the denoiser; text encoders and VAE are float32. `stored`: all have what their files have, to be written again. */
  dtype?: DType | "stored";
  device?: Device;
}

/** @internal What text encoders and VAE are placed with. */
export const besideDenoiser = ({ dtype, device }: LoadOptions): { dtype?: "stored"; device?: Device } => ({
  dtype: dtype === "stored" ? dtype : undefined,
  device,
});
