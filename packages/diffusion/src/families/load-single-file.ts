import { openWeights, UserError, type WeightsFile } from "@spo/torch";
import type { PipelineModels } from "../layouts/pipeline-folder.js";
import {
  readSingleFile,
  refuseOtherFormulations,
  type SingleFileOptions,
  writeSingleFile,
} from "../layouts/single-file.js";
import type { SchedulerConfig } from "../samplers/scheduler-config.js";
import { FAMILIES, familyOfModels, familyTitles, readConfigs } from "./families.js";
import type { Family, LoadOptions, PipelineConfigs } from "./family.js";
import { type UnetSignature, unetSignature } from "./shared-parts.js";

/**
 * Loads a checkpoint in one file, safetensors or torch.save's.
 *
 * configs: a pipeline's folder, of which only the config.json files are read, or the configs themselves. Default: those of the family's
 * published model, told from the shapes. Throws UserErrors for another architecture, and with all names that do not fit.
 */
export function loadSingleFile(
  path: string,
  { configs, ...placing }: { configs?: string | PipelineConfigs } & LoadOptions = {},
): { family: Family; models: PipelineModels; scheduler: SchedulerConfig } {
  using file = openWeights(path);
  refuseOtherFormulations(file, path);
  const family = FAMILIES.find(({ isSingleFile }) => isSingleFile(file)) ?? FAMILIES[0];
  const found =
    typeof configs === "string"
      ? readConfigs(configs, family)
      : (configs ?? publishedConfigs(file, path, family));
  return { family, ...readSingleFile(file, path, family, found, placing) };
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
  if (family.isPublished(file)) return family.published;
  const unet = unetSignature(file);
  if (!unet) {
    throw new UserError(
      `${path} is no checkpoint in one file: it has no model.diffusion_model.input_blocks.0.0.weight.`,
      { code: "DATA", hint: `Give a checkpoint of ${familyTitles("or")}, or a folder in diffusers layout.` },
    );
  }
  const what =
    OTHERS.find(([, test]) => test(unet))?.[0] ??
    `an architecture of width ${unet.width}, ${unet.inputs} input channels, text width ${unet.context} and ${unet.conditions} further conditions`;
  throw new UserError(`${path} is ${what}; supported are ${familyTitles("and")}.`, {
    code: "DATA",
    hint: "For a model of one of these families with other sizes, give the folder with its configs (--configs).",
  });
}
