// A whole pipeline as a folder in diffusers' layout.
import { join } from "node:path";
import { type DType, requireStorable, writeFileAtomic } from "@spo/torch";
import { VpSchedule } from "../process/vp-schedule.js";
import type { SchedulerConfig } from "../samplers/scheduler-config.js";
import type { ClipTokenizer } from "../tokenizer/clip-tokenizer.js";
import { saveTokenizer } from "../tokenizer/save-tokenizer.js";
import { saveModel } from "./model-folder.js";
import type { PipelineModels } from "./single-file.js";

/** What a folder holds. */
export interface PipelineParts {
  models: PipelineModels;
  tokenizer: ClipTokenizer;
  /** SDXL's second one. */
  tokenizer2?: ClipTokenizer;
  /** As in the checkpoint; one that names no class becomes DDIM's. */
  scheduler: SchedulerConfig;
  /** SDXL: no negative prompt means zeros. Default true, as in the published models. */
  forceZeros?: boolean;
}

/** How a pipeline's weights are written. */
export interface SaveOptions {
  /** Of the weights' files; see `saveModel`. */
  dtype?: DType;
  variant?: string;
}

/**
 * Writes a pipeline as a folder that `loadTextToImage` reads, and diffusers' `from_pretrained` too. Fuse adapters first.
 *
 * model_index.json comes last, so a folder that has one is whole. Throws as `saveModel`, before anything is written.
 */
export function savePipelineFolder(
  folder: string,
  { models, tokenizer, tokenizer2, scheduler, forceZeros = true }: PipelineParts,
  { dtype, variant }: SaveOptions = {},
): void {
  // All are checked before the first is written.
  for (const [part, model] of Object.entries(models)) {
    if (model) requireStorable(model.namedParameters(), { dtype, place: join(folder, part) });
  }
  for (const [part, model] of Object.entries(models)) {
    if (model) saveModel(join(folder, part), model, { dtype, variant });
  }
  saveTokenizer(join(folder, "tokenizer"), tokenizer);
  if (tokenizer2) saveTokenizer(join(folder, "tokenizer_2"), tokenizer2);
  const named = scheduler._class_name ? scheduler : ddimConfig(scheduler);
  writeJson(join(folder, "scheduler", "scheduler_config.json"), named);
  const xl = models.text_encoder_2 !== undefined;
  writeJson(join(folder, "model_index.json"), {
    _class_name: xl ? "StableDiffusionXLPipeline" : "StableDiffusionPipeline",
    _diffusers_version: "0.42.1",
    feature_extractor: [null, null],
    ...(xl && { force_zeros_for_empty_prompt: forceZeros }),
    image_encoder: [null, null],
    ...(!xl && { requires_safety_checker: false, safety_checker: [null, null] }),
    scheduler: ["diffusers", named._class_name],
    text_encoder: ["transformers", "CLIPTextModel"],
    ...(xl && { text_encoder_2: ["transformers", "CLIPTextModelWithProjection"] }),
    tokenizer: ["transformers", "CLIPTokenizer"],
    ...(xl && { tokenizer_2: ["transformers", "CLIPTokenizer"] }),
    unet: ["diffusers", "UNet2DConditionModel"],
    vae: ["diffusers", "AutoencoderKL"],
  });
}

/** All values spelt out, because diffusers' own defaults for DDIM differ. */
const ddimConfig = (scheduler: SchedulerConfig): SchedulerConfig => ({
  ...new VpSchedule(scheduler).config,
  _class_name: "DDIMScheduler",
  clip_sample: scheduler.clip_sample ?? false,
});

const writeJson = (path: string, value: object): void =>
  writeFileAtomic(path, `${JSON.stringify(value, null, 2)}\n`);
