// The settings of a run that is there already, so that it goes on without being told them again.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { placesOf, readRun } from "@spo/records";
import { parseOverrides } from "@spo/records/config";
import { mapConfigPaths, mayChange } from "spo/schemas";
import type { z } from "zod";

/**
 * The settings that a run of this kind was begun with, its paths led to where things lie now. Undefined where the folder holds no such run,
 * or the words name more than what may change of one: then they have to name everything, and are compared with it.
 *
 * Throws a UserError (`CONFIG`) for words that are no settings, (`DATA`) for a damaged run.
 */
export function recordedSettings(
  folder: string,
  kind: string,
  schema: z.ZodType,
  args: readonly string[],
  options: readonly string[],
): object | undefined {
  if (!existsSync(join(folder, "config.json"))) return undefined;
  const { paths, words } = parseOverrides(schema, args, options);
  const { settings, length } = mayChange(kind);
  if (words.length > 0 || !paths.every((path) => path === length || settings.includes(path)))
    return undefined;
  const run = readRun(folder);
  if (run.kind !== kind) return undefined;
  return mapConfigPaths(schema, run.config, (path) => {
    const places = placesOf(run, path);
    return places.find((place) => existsSync(place)) ?? (places[0] as string);
  });
}
