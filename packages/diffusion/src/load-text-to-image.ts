import { readModelIndex } from "./model-index.js";
import { StableDiffusion } from "./stable-diffusion.js";
import { StableDiffusionXL } from "./stable-diffusion-xl.js";
import type { LoadOptions } from "./text-to-image.js";

/**
 * Loads a folder in diffusers layout, of whichever family its model_index.json names.
 *
 * Throws UserErrors for what is missing, damaged, or of a family that is not supported.
 */
export function loadTextToImage(
  folder: string,
  options: LoadOptions = {},
): StableDiffusion | StableDiffusionXL {
  const { _class_name: family } = readModelIndex(folder, [
    "StableDiffusionPipeline",
    "StableDiffusionXLPipeline",
  ]);
  return family === "StableDiffusionXLPipeline"
    ? StableDiffusionXL.load(folder, options)
    : StableDiffusion.load(folder, options);
}
