// Finds paths that a run recorded, also when the run was moved or copied, or is read from another folder.
import { existsSync } from "node:fs";
import { basename, dirname, isAbsolute, join, resolve, sep } from "node:path";
import { UserError } from "@spo/torch/files";
import type { RunRecord } from "./run.js";

/**
 * The current path of something that a run's config or result names.
 *
 * What the run made (`made`) is looked for in its own folder first: a copied run means its copy. Then, as everything else, from the folder
 * where the run was begun, which its log has relative to its own; then from the current one. Throws a UserError (`DATA`) that names the
 * run.
 */
export function pathOfRun(
  run: Pick<RunRecord, "folder" | "events">,
  path: string,
  { what, made = false }: { what: string; made?: boolean },
): string {
  const tried = [...new Set(places(run, path, made).map((place) => resolve(place)))];
  const found = tried.find((place) => existsSync(place));
  if (found !== undefined) return found;
  throw new UserError(
    `${run.folder} names ${path} as its ${what}, and there is none: looked for ${tried.join(", ")}.`,
    { code: "DATA", hint: "Put it there, or call the command from the folder that the run was begun in." },
  );
}

function places(
  { folder, events }: Pick<RunRecord, "folder" | "events">,
  path: string,
  made: boolean,
): string[] {
  const inside = made ? [join(folder, basename(path))] : [];
  if (isAbsolute(path)) return [...inside, path];
  const start = events.find((event) => event.type === "start");
  if (start?.type === "start" && start.from !== undefined)
    return [...inside, join(folder, ...start.from.split("/"), path), path];
  return [...inside, path, ...foldersAbove(folder).map((above) => join(above, path))]; // of an earlier version
}

function foldersAbove(folder: string): string[] {
  const above: string[] = [];
  for (let at = dirname(resolve(folder)); at !== dirname(at); at = dirname(at)) above.push(at);
  return above.filter((each) => each.split(sep).length > 1);
}
