// All families of models, and how to recognise the family of a model, a config or a file.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { readJsonObject } from "../config.js";
import type { StoredModel } from "../layouts/model-folder.js";
import type { PipelineModels } from "../layouts/pipeline-folder.js";
import { readScheduler, schedulerPart } from "../layouts/read-scheduler.js";
import type { Family, PipelineConfigs } from "./family.js";
import { flux } from "./flux.js";
import { stableDiffusion } from "./stable-diffusion.js";
import { stableDiffusion3 } from "./stable-diffusion-3.js";
import { stableDiffusionXL } from "./stable-diffusion-xl.js";

/** All families. An unrecognised model is treated as the first family's, whose error then says what it lacks. */
export const FAMILIES: readonly [Family, ...Family[]] = [
  stableDiffusion,
  stableDiffusionXL,
  stableDiffusion3,
  flux,
];

/** The titles of all families, for messages. */
export const familyTitles = (word: "and" | "or"): string => {
  const titles = FAMILIES.map(({ title }) => title);
  return `${titles.slice(0, -1).join(", ")} ${word} ${titles.at(-1)}`;
};

/** The family of a denoiser. */
export function familyOfDenoiser(model: StoredModel): Family {
  const family = FAMILIES.find(({ isDenoiser }) => isDenoiser(model));
  if (!family) throw new Error(`${model.constructor.name} is the denoiser of no family`);
  return family;
}

/** The family of a pipeline's models, of which the denoiser at least is there. */
export function familyOfModels(models: PipelineModels): Family {
  const family = FAMILIES.find(({ denoiser, isDenoiser }) => {
    const model = models[denoiser];
    return model !== undefined && isDenoiser(model);
  });
  if (!family) throw new Error(`the models ${Object.keys(models).join(", ")} are of no family`);
  return family;
}

/** The family of whose models these are all configs, but for those that it goes without. */
export function familyOfConfigs(configs: PipelineConfigs): Family {
  const { scheduler: _, pipeline: __, ...parts } = configs;
  const family = FAMILIES.find(
    (each) =>
      Object.keys(parts).every((part) => part in each.parts) &&
      Object.entries(each.parts).every(([part, { optional }]) => optional || part in parts) &&
      isOfClass(each, parts[each.denoiser]),
  );
  if (!family) throw new Error(`the configs ${Object.keys(parts).join(", ")} are of no family`);
  return family;
}

/** The family whose parts have a config in a folder; of several, the one that fits best. undefined: no family's denoiser is there. */
export function familyOfFolder(folder: string): Family | undefined {
  const pathOf = (part: string): string => join(folder, part, "config.json");
  const hasConfig = (part: string): boolean => existsSync(pathOf(part));
  const fit = ({ parts }: Family): number =>
    Object.keys(parts).reduce((sum, part) => sum + (hasConfig(part) ? 1 : -1), 0);
  return FAMILIES.filter(
    (family) => hasConfig(family.denoiser) && isOfClass(family, readJsonObject(pathOf(family.denoiser))),
  ).toSorted((a, b) => fit(b) - fit(a))[0];
}

/** Whether a denoiser's config can be of a family: those of diffusers say their class. */
const isOfClass = ({ parts, denoiser }: Family, config: unknown): boolean => {
  const { _class_name: name } = (config ?? {}) as { _class_name?: unknown };
  const classes = parts[denoiser]?.classes ?? [];
  return name === undefined || classes.some((each) => each === name);
};

/** A pipeline's models by their configs, without values. Throws a UserError for a config that is not supported. */
export const blankModels = (family: Family, configs: PipelineConfigs): Record<string, StoredModel> =>
  Object.fromEntries(
    Object.entries(family.parts).flatMap(([part, { blank, optional }]) =>
      optional && configs[part] === undefined ? [] : [[part, blank(configs[part])]],
    ),
  );

/**
 * The configs in a pipeline's folder, whose weights need not be there. Without a scheduler's config that of the published model.
 *
 * pipeline: what model_index.json calls it; default: the family's own. Throws a UserError (`DATA`) for a config that is missing or damaged.
 */
export function readConfigs(folder: string, family: Family, pipeline = family.pipelines[0]): PipelineConfigs {
  const parts = Object.entries(family.parts).flatMap(([part, { repaired, optional }]) => {
    const path = join(folder, part, "config.json");
    if (optional && !existsSync(path)) return [];
    const config = readJsonObject(path);
    return [[part, repaired ? repaired(config, pipeline, path) : config] as const];
  });
  return {
    ...Object.fromEntries(parts),
    scheduler: existsSync(join(folder, "scheduler", "scheduler_config.json"))
      ? readScheduler(folder, schedulerPart(folder)).config
      : family.published.scheduler,
    pipeline,
  };
}
