// A whole pipeline as a folder in diffusers' layout.
import { join } from "node:path";
import { type DType, requireStorable, writeFileAtomic } from "@spo/torch";
import { VpSchedule } from "../process/vp-schedule.js";
import type { SchedulerConfig } from "../samplers/scheduler-config.js";
import type { ClipTokenizer } from "../tokenizer/clip-tokenizer.js";
import { saveTokenizer } from "../tokenizer/save-tokenizer.js";
import { saveT5Tokenizer, T5Tokenizer } from "../tokenizer/t5-tokenizer.js";
import { type StoredModel, saveModel } from "./model-folder.js";

/** The models of a pipeline, under the names of diffusers' folders. */
export type PipelineModels = Readonly<Record<string, StoredModel>>;

/** What a folder holds. */
export interface PipelineParts {
  models: PipelineModels;
  /** By their folders. */
  tokenizers: Readonly<Record<string, ClipTokenizer | T5Tokenizer>>;
  /** As in the checkpoint; one that names no class becomes DDIM's. */
  scheduler: SchedulerConfig;
  /** What model_index.json says beside the parts: `_class_name` and what the pipeline goes without. */
  index: Readonly<Record<string, unknown>>;
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
  { models, tokenizers, scheduler, index }: PipelineParts,
  { dtype, variant }: SaveOptions = {},
): void {
  // All are checked before the first is written.
  for (const [part, model] of Object.entries(models))
    requireStorable(model.namedParameters(), { dtype, place: join(folder, part) });
  for (const [part, model] of Object.entries(models))
    saveModel(join(folder, part), model, { dtype, variant });
  for (const [part, tokenizer] of Object.entries(tokenizers)) {
    if (tokenizer instanceof T5Tokenizer) saveT5Tokenizer(join(folder, part), tokenizer);
    else saveTokenizer(join(folder, part), tokenizer);
  }
  const named = scheduler._class_name ? scheduler : ddimConfig(scheduler);
  writeJson(join(folder, "scheduler", "scheduler_config.json"), named);
  const entries = {
    ...index,
    _diffusers_version: "0.42.1",
    scheduler: ["diffusers", named._class_name],
    ...mapValues(models, (model) => [model.modelType ? "transformers" : "diffusers", model.constructor.name]),
    ...mapValues(tokenizers, (tokenizer) => [
      "transformers",
      tokenizer instanceof T5Tokenizer ? "T5TokenizerFast" : "CLIPTokenizer",
    ]),
  };
  writeJson(
    join(folder, "model_index.json"),
    Object.fromEntries(Object.entries(entries).sort(([a], [b]) => (a < b ? -1 : 1))), // as diffusers has them
  );
}

const mapValues = <T>(
  of: Readonly<Record<string, T>>,
  entry: (value: T) => unknown,
): Record<string, unknown> =>
  Object.fromEntries(Object.entries(of).map(([name, value]) => [name, entry(value)]));

/** All values spelt out, because diffusers' own defaults for DDIM differ. */
const ddimConfig = (scheduler: SchedulerConfig): SchedulerConfig => ({
  ...new VpSchedule(scheduler).config,
  _class_name: "DDIMScheduler",
  clip_sample: scheduler.clip_sample ?? false,
});

const writeJson = (path: string, value: object): void =>
  writeFileAtomic(path, `${JSON.stringify(value, null, 2)}\n`);
