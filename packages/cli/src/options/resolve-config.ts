import { mapPlaces, type Place, placesIn } from "@spo/records/config";
import { mapWeightedSpecs } from "@spo/scorers/reward-spec";
import type { z } from "zod";
import { resolveModel } from "./resolve-model.js";
import { resolveRewardWords } from "./resolve-reward.js";

/** A config with paths in place of the hub's names, wherever its schema says that a model or a scorer is named. */
export async function resolveModels<C extends object>(
  schema: z.ZodType,
  config: C,
  options: { quiet?: boolean } = {},
): Promise<C> {
  const found = new Map<string, string>();
  const keyOf = (text: string, place: Place): string => `${place} ${text}`;
  for (const { place, text } of placesIn(schema, config))
    found.set(keyOf(text, place), await resolvePlace(text, place, options));
  return mapPlaces(schema, config, (text, place) => found.get(keyOf(text, place)) ?? text);
}

async function resolvePlace(text: string, place: Place, options: { quiet?: boolean }): Promise<string> {
  switch (place) {
    case "path":
      return text;
    case "model":
      return resolveModel(text, options);
    case "configs":
      return resolveModel(text, { ...options, configsOnly: true });
    case "scorer": // else a word of the setting's own, a module or a folder
      return mapWeightedSpecs(text, (spec) =>
        /^[a-z-]+:./.test(spec) ? resolveRewardWords(spec, options) : spec,
      );
  }
}
