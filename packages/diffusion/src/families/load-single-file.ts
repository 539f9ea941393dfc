import { readdirSync } from "node:fs";
import { join } from "node:path";
import { openWeights, UserError, type WeightsFile } from "@spo/torch";
import { isFolder } from "@spo/torch/files";
import { besideDenoiser, type StoredModel } from "../layouts/model-folder.js";
import type { PipelineModels } from "../layouts/pipeline-folder.js";
import {
  readPartFile,
  readSingleFile,
  refuseOtherFormulations,
  type SingleFileOptions,
  writeSingleFile,
} from "../layouts/single-file.js";
import type { SchedulerConfig } from "../samplers/scheduler-config.js";
import { FAMILIES, familyOfModels, familyTitles, readConfigs } from "./families.js";
import type { Family, FamilyPart, LoadOptions, PipelineConfigs } from "./family.js";
import { type UnetSignature, unetSignature } from "./shared-parts.js";

/**
 * Loads a checkpoint in one file, safetensors or torch.save's.
 *
 * Without `configs`, those of the family's published model, told from the shapes. Throws UserErrors for another architecture, for a part
 * that is nowhere, and with all names that do not fit.
 */
export function loadSingleFile(
  path: string,
  { configs, parts = {}, ...placing }: SingleFileSources & LoadOptions = {},
): { family: Family; models: PipelineModels; scheduler: SchedulerConfig } {
  using file = openWeights(path);
  refuseOtherFormulations(file, path);
  const family = FAMILIES.find(({ isSingleFile }) => isSingleFile(file)) ?? FAMILIES[0];
  if (typeof configs === "string" && !isFolder(configs))
    throw new UserError(`There is no folder ${configs}, where the configs of ${path} should be.`, {
      code: "DATA",
      hint: "Give a pipeline's folder in diffusers layout (--configs FOLDER).",
    });
  const found =
    typeof configs === "string"
      ? readConfigs(configs, family)
      : (configs ?? publishedConfigs(file, path, family));
  const unknown = Object.keys(parts).find((part) => !(part in family.parts));
  if (unknown !== undefined)
    throw new UserError(`${family.title} has no part ${unknown}.`, {
      code: "USAGE",
      hint: `Its parts are ${Object.keys(family.parts).join(", ")}.`,
    });
  const elsewhere = (part: string): (() => StoredModel) | undefined => {
    const folder = typeof configs === "string" && family.sharedInParts ? join(configs, part) : "";
    const source = parts[part] ?? (hasWeights(folder) ? folder : undefined);
    return source === undefined ? undefined : () => loadPart(source, family, part, found[part], placing);
  };
  return { family, ...readSingleFile(file, path, family, found, placing, elsewhere) };
}

/** Where a file's sizes come from, and the models that it lacks. */
export interface SingleFileSources {
  /**
   * A pipeline's folder, or the configs themselves. Of a folder the config.json files are read, and the models that the file lacks, where
   * the family is shared in parts.
   */
  configs?: string | PipelineConfigs;
  /** Files or folders of models that the file lacks, by the names of their folders in diffusers layout. */
  parts?: Readonly<Record<string, string>>;
}

const hasWeights = (folder: string): boolean =>
  isFolder(folder) && readdirSync(folder).some((name) => /\.(safetensors|bin)$/.test(name));

function loadPart(
  source: string,
  family: Family,
  part: string,
  config: unknown,
  placing: LoadOptions,
): StoredModel {
  const { load, large } = family.parts[part] as FamilyPart;
  if (isFolder(source)) return load(source, large ? placing : besideDenoiser(placing));
  return readPartFile(source, family, part, config, placing);
}

/**
 * Writes a pipeline as one safetensors file in the original naming, whole or not at all. Fuse adapters first.
 *
 * Throws a UserError (`CONFIG`) for a scheduler that predicts x̂0, which such a file cannot say, and as `saveModel` for weights that are
 * not finite.
 */
export function saveSingleFile(path: string, models: PipelineModels, options: SingleFileOptions = {}): void {
  writeSingleFile(path, models, familyOfModels(models), options);
}

/** Architectures of the same code that are known and not supported. */
const OTHERS: readonly [string, (of: UnetSignature) => boolean][] = [
  ["an inpainting model (9 input channels)", ({ inputs }) => inputs === 9],
  ["an image-editing model (8 input channels)", ({ inputs }) => inputs === 8],
  ["Stable Diffusion 2", ({ context }) => context === 1024],
  ["the SDXL refiner", ({ conditions }) => conditions === 2560],
];

function publishedConfigs(file: WeightsFile, path: string, family: Family): PipelineConfigs {
  const published = family.configsOf(file);
  if (published) return published;
  if (family.sharedInParts)
    throw new UserError(
      `${path} is of the architecture of ${family.title}, with other sizes than the published models.`,
      {
        code: "DATA",
        hint: "Give the folder with its configs (--configs).",
      },
    );
  const unet = unetSignature(file);
  if (!unet) {
    throw new UserError(`${path} is no checkpoint in one file: no denoiser of a known family is in it.`, {
      code: "DATA",
      hint: `Give a checkpoint of ${familyTitles("or")}, or a folder in diffusers layout.`,
    });
  }
  const what =
    OTHERS.find(([, test]) => test(unet))?.[0] ??
    `an architecture of width ${unet.width}, ${unet.inputs} input channels, text width ${unet.context} and ${unet.conditions} further conditions`;
  throw new UserError(`${path} is ${what}; supported are ${familyTitles("and")}.`, {
    code: "DATA",
    hint: "For a model of one of these families with other sizes, give the folder with its configs (--configs).",
  });
}
