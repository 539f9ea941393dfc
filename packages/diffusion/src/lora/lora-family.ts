// What a family has to do with adapters: whose a file is, and which layers a new one lies over.
import { type Generator, openWeights, UserError } from "@spo/torch";
import { familyOfDenoiser, familyTitles } from "../families/families.js";
import type { Family } from "../families/family.js";
import type { DenoiserModel } from "../models/denoiser-model.js";
import { addLora, type Lora, type LoraOptions } from "./lora.js";
import { loraFileAt } from "./lora-file.js";
import { loraOrigin } from "./lora-origin.js";

/**
 * The family of a LoRA file or of the folder that holds one; undefined where nothing in it tells.
 *
 * Throws a UserError (`DATA`) for a family that is not supported.
 */
export function loraFamily(path: string): Family | undefined {
  using file = openWeights(loraFileAt(path));
  const origin = loraOrigin(file);
  if (!origin || origin.family) return origin?.family;
  throw new UserError(
    `${path} is a LoRA for ${origin.name}; supported are those for ${familyTitles("and")}.`,
    {
      code: "DATA",
      hint: "For a model of one of these families with other sizes, give the folder with its configs (--configs).",
    },
  );
}

/** Puts an adapter on the layers of a denoiser that its family adapts, or on those that are named; see `addLora`. */
export const addFamilyLora = (model: DenoiserModel, options: LoraOptions, generator: Generator): Lora =>
  addLora(model, { ...options, targets: options.targets ?? familyOfDenoiser(model).loraTargets }, generator);
