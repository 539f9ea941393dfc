// Comparisons by name. No tensor code.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { EXAMPLE_FOLDER } from "@spo/example-emoji/folder";
import { mapPlaces } from "@spo/records/config";
import { UserError } from "@spo/torch/files";
import { CompareConfig } from "spo/schemas";

/** The example's comparison, and the same with a latent judge beside it. Their files are found from every working folder. */
export function comparePresets(): Record<string, object> {
  const emoji = presetIn("compare.json");
  return { emoji, "emoji-latent": { ...emoji, ...presetIn("compare-latent.json") } };
}

function presetIn(name: string): object {
  const path = join(EXAMPLE_FOLDER, name);
  try {
    const preset: object = JSON.parse(readFileSync(path, "utf8"));
    return mapPlaces(CompareConfig, preset, (text) => join(EXAMPLE_FOLDER, text));
  } catch (error) {
    throw new UserError(`${path} cannot be read: ${(error as Error).message}`, {
      code: "DATA",
      cause: error,
    });
  }
}
