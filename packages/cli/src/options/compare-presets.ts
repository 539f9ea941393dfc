// Comparisons by name. No tensor code.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { UserError } from "@spo/torch/files";

const EXAMPLE = fileURLToPath(new URL("../../../../examples/emoji", import.meta.url));

/** The example's comparison, its files found from wherever the command is given. */
export function comparePresets(): Record<string, object> {
  const path = join(EXAMPLE, "compare.json");
  try {
    const { search, spm, ...rest } = JSON.parse(readFileSync(path, "utf8"));
    const at = (name: string): string => join(EXAMPLE, name);
    const places = Object.fromEntries(
      ["model", "prompts", "heldOut", "judge", "validator"].map((key) => [key, at(rest[key])]),
    );
    return {
      emoji: { ...rest, ...places, pairs: rest.pairs.map(at), search, spm: { ...spm, init: at(spm.init) } },
    };
  } catch (error) {
    throw new UserError(`${path} cannot be read: ${(error as Error).message}`, {
      code: "DATA",
      cause: error,
    });
  }
}
