import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { readModelIndex } from "../layouts/model-index.js";
import { loadSingleFile } from "../layouts/single-file.js";
import { CheckpointSchedule } from "../samplers/checkpoint-schedule.js";
import { type ClipTokenizer, loadTokenizer } from "../tokenizer/clip-tokenizer.js";
import { publishedTokenizer } from "../tokenizer/save-tokenizer.js";
import { StableDiffusion } from "./stable-diffusion.js";
import { StableDiffusionXL } from "./stable-diffusion-xl.js";
import type { LoadOptions } from "./text-to-image.js";

/** How `loadTextToImage` places a model and where it finds what one file lacks. */
export interface LoadTextToImageOptions extends LoadOptions {
  /** For one file whose sizes are not the published ones: a folder in diffusers layout, of which the configs and tokenizers are read. */
  configs?: string;
}

/**
 * Loads a model in whatever layout it has: a folder in diffusers layout, or one file in the original naming (.safetensors, .ckpt).
 *
 * The family is told from model_index.json or from the names in the file. Throws UserErrors for what is missing, damaged, or of a family that
 * is not supported.
 */
export function loadTextToImage(
  path: string,
  { configs, ...options }: LoadTextToImageOptions = {},
): StableDiffusion | StableDiffusionXL {
  if (existsSync(path) && statSync(path).isFile()) return fromSingleFile(path, configs, options);
  const { _class_name: family } = readModelIndex(path, [
    "StableDiffusionPipeline",
    "StableDiffusionXLPipeline",
  ]);
  return family === "StableDiffusionXLPipeline"
    ? StableDiffusionXL.load(path, options)
    : StableDiffusion.load(path, options);
}

function fromSingleFile(
  path: string,
  configs: string | undefined,
  options: LoadOptions,
): StableDiffusion | StableDiffusionXL {
  const { models, scheduler } = loadSingleFile(path, { configs, ...options });
  const { unet, vae, text_encoder: textEncoder, text_encoder_2: textEncoder2 } = models;
  const pipeline = textEncoder2 ? "StableDiffusionXLPipeline" : "StableDiffusionPipeline";
  const schedule = new CheckpointSchedule(scheduler, {
    pipeline,
    path: configs && join(configs, "scheduler", "scheduler_config.json"),
  });
  const shared = { unet, vae, textEncoder, schedulerConfig: scheduler, schedule };
  const tokenizer = (name: string, padToken?: string): ClipTokenizer => {
    const folder = configs === undefined ? undefined : join(configs, name);
    return folder !== undefined && existsSync(folder)
      ? loadTokenizer(folder)
      : publishedTokenizer({ padToken });
  };
  return textEncoder2
    ? new StableDiffusionXL({
        ...shared,
        textEncoder2,
        tokenizer: tokenizer("tokenizer"),
        tokenizer2: tokenizer("tokenizer_2", "!"),
      })
    : new StableDiffusion({ ...shared, tokenizer: tokenizer("tokenizer") });
}
