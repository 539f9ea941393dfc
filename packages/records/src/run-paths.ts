// Paths in a run's config, also when the run was moved or copied, or is read from another folder.
import { existsSync } from "node:fs";
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { UserError } from "@spo/torch/files";
import type { RunRecord } from "./run.js";

/** A config with other texts for the paths that it names; map is asked for each. */
export type MapPaths = (config: object, map: (path: string) => string) => object;

/**
 * A path as a run's config has it: `./…` within the run's folder; elsewhere absolute if it was given so, or relative to that folder.
 *
 * folder, path: from the current folder.
 */
export function writtenPath(folder: string, path: string): string {
  const within = relative(folder, path).replaceAll(sep, "/");
  const isInside = !isAbsolute(within) && within !== ".." && !within.startsWith("../");
  if (isInside) return within === "" ? "." : `./${within}`;
  return isAbsolute(path) ? path : within;
}

/** What tells where the paths of a run's config were written; the events, where an earlier version wrote it. */
type Recorded = Pick<RunRecord, "folder" | "writtenIn" | "events">;

/** Where a path of a run's config may lie now, absolute, the likeliest first. */
export function placesOf({ folder, writtenIn, events }: Recorded, path: string): string[] {
  if (writtenIn !== undefined) {
    const before = resolve(writtenIn, path);
    const movedAlong = resolve(folder, relative(writtenIn, before));
    return isAbsolute(path) ? [path, movedAlong] : [movedAlong, before];
  }
  if (isAbsolute(path)) return [path];
  const start = events.find((event) => event.type === "start");
  if (start?.type === "start" && start.from !== undefined)
    return [join(folder, ...start.from.split("/"), path), path].map((place) => resolve(place));
  return [path, ...foldersAbove(folder).map((above) => join(above, path))].map((place) => resolve(place));
}

/**
 * The current path of something that a run's config names.
 *
 * What the run made (`made`) is looked for in its own folder first: a copied run means its copy. Throws a UserError (`DATA`) that names
 * the run.
 */
export function pathOfRun(
  run: Recorded,
  path: string,
  { what, made = false }: { what: string; made?: boolean },
): string {
  const { folder, writtenIn } = run;
  const inside = made ? [resolve(folder, basename(path))] : [];
  const tried = [...new Set([...inside, ...placesOf(run, path)])];
  const found = tried.find((place) => existsSync(place));
  if (found !== undefined) return found;
  throw new UserError(
    `${folder} names ${path} as its ${what}, and there is none: looked for ${tried.join(", ")}.`,
    {
      code: "DATA",
      hint:
        writtenIn === undefined
          ? "Put it there, or call the command from the folder that the run was begun in."
          : "Put it there.",
    },
  );
}

function foldersAbove(folder: string): string[] {
  const above: string[] = [];
  for (let at = dirname(resolve(folder)); at !== dirname(at); at = dirname(at)) above.push(at);
  return above.filter((each) => each.split(sep).length > 1);
}
