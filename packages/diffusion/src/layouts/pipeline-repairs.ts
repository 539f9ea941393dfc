// Changes that a pipeline of diffusers makes to the configs in its folder.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { warn } from "@spo/torch/warnings";
import { checkConfig, readJsonObject } from "../config.js";
import type { AutoencoderKLConfig } from "../models/autoencoder-kl.js";
import type { UNet2DConditionConfig } from "../models/unet-2d-condition.js";
import { unknownFields } from "../samplers/scheduler-classes.js";
import { SchedulerConfig } from "../samplers/scheduler-config.js";
import type { ModelIndex } from "./model-index.js";

/**
 * scheduler_config.json of a pipeline's folder, its `_class_name` the class that diffusers makes of it: model_index.json has the last word.
 *
 * Warns where the two differ, and of fields that no scheduler reads. Throws a UserError for a file that is missing or has impossible
 * values.
 */
export function readScheduler(
  folder: string,
  { scheduler }: Pick<ModelIndex, "scheduler"> = {},
): { config: SchedulerConfig; path: string } {
  const path = join(folder, "scheduler", "scheduler_config.json");
  const config = checkedScheduler(readJsonObject(path), path);
  const name = scheduler?.[1];
  const own = config._class_name;
  if (name && own !== undefined && name !== own)
    warn(
      `${path} is a ${own}'s, and model_index.json says ${name}: it is read as ${name}, as diffusers does.`,
    );
  const unknown = unknownFields(config);
  if (unknown.length > 0)
    warn(
      `${path}: ${unknown.slice(0, 10).join(", ")}: no scheduler of diffusers reads this; it is passed over.`,
    );
  return { config: name ? { ...config, _class_name: name } : config, path };
}

/** The file's own values, checked, without defaults. */
function checkedScheduler(found: Record<string, unknown>, path: string): SchedulerConfig {
  checkConfig(SchedulerConfig, found, path);
  return found as SchedulerConfig;
}

/** The scheduler class that a folder's model_index.json names, whatever else it says; undefined where there is none. */
export function schedulerPart(folder: string): Pick<ModelIndex, "scheduler"> {
  const path = join(folder, "model_index.json");
  if (!existsSync(path)) return {};
  const { scheduler } = readJsonObject(path);
  const [library, name] = Array.isArray(scheduler) ? (scheduler as unknown[]) : [];
  return typeof name === "string" ? { scheduler: [String(library), name] } : {};
}

/**
 * The UNet's config as a pipeline has it: one that diffusers before 0.9 wrote with a `sample_size` below 64 has 64.
 *
 * path: of the file, for the warning. Source: diffusers StableDiffusionPipeline; SDXL's leaves it.
 */
export function repairedUnet(
  config: UNet2DConditionConfig,
  pipeline: string,
  path: string,
): UNet2DConditionConfig {
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
export function repairedVae(
  config: AutoencoderKLConfig,
  pipeline: string,
  path: string,
): AutoencoderKLConfig {
  if (pipeline === "StableDiffusionXLPipeline" || !(config.latents_mean || config.latents_std)) return config;
  warn(`${path}: latents_mean and latents_std are not used, as diffusers' ${pipeline} does not use them.`);
  return { ...config, latents_mean: null, latents_std: null };
}
