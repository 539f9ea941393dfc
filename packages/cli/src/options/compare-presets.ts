// Comparisons by name. No tensor code.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { EXAMPLE_FOLDER } from "@spo/example-emoji/folder";
import { mapPlaces } from "@spo/records/config";
import { UserError } from "@spo/torch/files";
import { CompareConfig } from "spo/schemas";

/** The example's comparison. Its files are found from every working folder. */
export function comparePresets(): Record<string, object> {
  const path = join(EXAMPLE_FOLDER, "compare.json");
  try {
    const preset: object = JSON.parse(readFileSync(path, "utf8"));
    return { emoji: mapPlaces(CompareConfig, preset, (text) => join(EXAMPLE_FOLDER, text)) };
  } catch (error) {
    throw new UserError(`${path} cannot be read: ${(error as Error).message}`, {
      code: "DATA",
      cause: error,
    });
  }
}
