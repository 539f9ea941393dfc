// A value of a grid's side `checkpoint`: a LoRA, or a whole model.
import { existsSync } from "node:fs";
import { isLora } from "@spo/diffusion";
import { type LoraChoice, resolveLoras } from "./lora-option.js";
import { resolveModel } from "./resolve-model.js";

/** What is drawn with: LoRAs over the model of the command, or a model in place of it. */
export interface Checkpoint {
  loras: LoraChoice[];
  /** Its folder or file. */
  model?: string;
}

/**
 * A LoRA as of --lora, with or without a weight; or a model as of --model. A name on a hub that is not on this machine is a model where
 * its folder is one.
 *
 * Throws a UserError (`DATA`) for a file that cannot be read.
 */
export async function resolveCheckpoint(text: string, { quiet }: { quiet?: boolean }): Promise<Checkpoint> {
  const path = /:-?[\d.]+$/.test(text) && !existsSync(text) ? undefined : await resolveModel(text, { quiet });
  if (path !== undefined && !isLora(path)) return { loras: [], model: path };
  return { loras: await resolveLoras([text], { quiet }) };
}
