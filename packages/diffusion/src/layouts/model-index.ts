import { existsSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "@spo/torch";
import { z } from "zod";
import { checkConfig, readJsonObject } from "../config.js";

const ModelIndex = z.looseObject({
  _class_name: z.string().optional(),
  /** SDXL: no negative prompt means zeros, not the encoding of the empty text. */
  force_zeros_for_empty_prompt: z.boolean().nullish(),
});
export type ModelIndex = z.output<typeof ModelIndex>;

/** Pipelines whose models draw from a text alone, as the families here do. */
const SAME_MODELS: Readonly<Record<string, string>> = {
  LatentConsistencyModelPipeline: "StableDiffusionPipeline",
};

/** Others that people have and why they are not these. */
const OTHERS: readonly [RegExp, string][] = [
  [
    /XLImg2Img/,
    "The SDXL refiner goes on with an image and is told an aesthetic score: sample from the SDXL base.",
  ],
  [/InstructPix2Pix/, "It edits an image that it is given: take a checkpoint that draws from a text alone."],
  [
    /Inpaint/,
    "It fills a mask in an image that it is given: take a checkpoint that draws from a text alone.",
  ],
  [
    /Img2Img|Upscale|Depth2Img|ControlNet|Adapter/,
    "It starts from an image: take a checkpoint that draws from a text alone.",
  ],
];

/** Reads model_index.json of a pipeline's folder. Throws a UserError (`DATA`) unless it is of one of the given families. */
export function readModelIndex(folder: string, families: readonly string[]): ModelIndex {
  if (!existsSync(folder)) {
    throw new UserError(`There is no model folder ${folder}.`, {
      code: "DATA",
      hint: "Give a folder in diffusers layout, or a checkpoint in one file.",
    });
  }
  const path = join(folder, "model_index.json");
  if (!existsSync(path)) {
    throw new UserError(`${folder} is no pipeline in diffusers layout: it has no model_index.json.`, {
      code: "DATA",
      hint: "Give the folder that holds unet/, vae/ and text_encoder/ with their model_index.json, or a checkpoint in one file.",
    });
  }
  const index = checkConfig(ModelIndex, readJsonObject(path), path);
  const found = index._class_name ?? "model without _class_name";
  const family = SAME_MODELS[found] ?? found;
  if (!families.includes(family)) {
    throw new UserError(`${folder} is a ${found}; supported here: ${families.join(", ")}.`, {
      code: "DATA",
      hint: OTHERS.find(([pattern]) => pattern.test(found))?.[1],
    });
  }
  return { ...index, _class_name: family };
}
