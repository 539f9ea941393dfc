// The scheduler's config of a pipeline's folder.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { warn } from "@spo/torch/warnings";
import { checkConfig, readJsonObject } from "../config.js";
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
