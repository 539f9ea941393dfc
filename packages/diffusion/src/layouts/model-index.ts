import { existsSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "@spo/torch";
import { z } from "zod";
import { checkConfig, readJsonObject } from "../config.js";
import { type Misfit, refuseMisfits } from "./misfits.js";

/** Library and class of a part; nulls for one that the pipeline goes without. */
const Part = z.tuple([z.string().nullable(), z.string().nullable()]);

const ModelIndex = z.looseObject({
  _class_name: z.string().optional(),
  scheduler: Part.optional(),
  unet: Part.optional(),
  vae: Part.optional(),
  text_encoder: Part.optional(),
  text_encoder_2: Part.optional(),
  tokenizer: Part.optional(),
  tokenizer_2: Part.optional(),
  /** SDXL: no negative prompt means zeros, not the encoding of the empty text. */
  force_zeros_for_empty_prompt: z.boolean().nullish(),
});
export type ModelIndex = z.output<typeof ModelIndex>;

/** Classes that a part can have, in diffusers and transformers of any age. */
const CLASSES: Readonly<Record<string, readonly string[]>> = {
  unet: ["UNet2DConditionModel"],
  vae: ["AutoencoderKL"],
  text_encoder: ["CLIPTextModel"],
  text_encoder_2: ["CLIPTextModelWithProjection"],
  tokenizer: ["CLIPTokenizer", "CLIPTokenizerFast"],
  tokenizer_2: ["CLIPTokenizer", "CLIPTokenizerFast"],
};

/** Pipelines whose models draw from a text alone, as the families here do. */
const SAME_MODELS: Readonly<Record<string, string>> = {
  LatentConsistencyModelPipeline: "StableDiffusionPipeline",
};

/** Other pipelines that people have, and why they are refused. */
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

/**
 * Reads model_index.json of a pipeline's folder. `_class_name` is the family, `pipeline` what the file says.
 *
 * Throws a UserError (`DATA`) unless it names one of the given families and only parts that are supported.
 */
export function readModelIndex(
  folder: string,
  families: readonly string[],
): ModelIndex & { pipeline: string } {
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
  const faults: Misfit[] = [];
  for (const [part, classes] of Object.entries(CLASSES)) {
    const [, name] = (index[part] as z.output<typeof Part> | undefined) ?? [];
    if (name === null) faults.push([part, "is left out, and is needed to draw from a text"]);
    else if (name !== undefined && !classes.includes(name))
      faults.push([part, `is a ${name}; supported here: ${classes.join(", ")}`]);
  }
  refuseMisfits(
    `${path} names parts that are not here`,
    faults,
    "Give a checkpoint of Stable Diffusion or SDXL that draws from a text alone.",
  );
  return { ...index, _class_name: family, pipeline: found };
}
