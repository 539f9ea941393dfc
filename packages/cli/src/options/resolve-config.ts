import type { Place } from "@spo/records/config";
import { mapConfigPaths } from "spo/schemas";
import type { z } from "zod";
import { resolveModel } from "./resolve-model.js";

/** A config with paths in place of the hub's names, wherever its schema says that a model or a scorer is named. */
export async function resolveModels<C extends object>(
  schema: z.ZodType,
  config: C,
  options: { quiet?: boolean } = {},
): Promise<C> {
  const named = new Map<string, { text: string; place: Place }>();
  const keyOf = (text: string, place: Place): string => `${place} ${text}`;
  mapConfigPaths(schema, config, (text, place) => {
    named.set(keyOf(text, place), { text, place });
    return text;
  });
  const found = new Map<string, string>();
  for (const [key, { text, place }] of named)
    if (place !== "path")
      found.set(key, await resolveModel(text, { ...options, configsOnly: place === "configs" }));
  return mapConfigPaths(schema, config, (text, place) => found.get(keyOf(text, place)) ?? text);
}
