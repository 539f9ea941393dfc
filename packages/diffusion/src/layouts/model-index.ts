import { existsSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "@spo/torch";
import { z } from "zod";
import { checkConfig, readJson } from "../config.js";

const ModelIndex = z.looseObject({
  _class_name: z.string().optional(),
  /** SDXL: no negative prompt means zeros, not the encoding of the empty text. */
  force_zeros_for_empty_prompt: z.boolean().nullish(),
});
export type ModelIndex = z.output<typeof ModelIndex>;

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
  const index = checkConfig(ModelIndex, readJson(path), path);
  if (!families.includes(index._class_name ?? "")) {
    const found = index._class_name ?? "model without _class_name";
    throw new UserError(`${folder} is a ${found}; supported here: ${families.join(", ")}.`, { code: "DATA" });
  }
  return index;
}
