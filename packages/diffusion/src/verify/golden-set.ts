// A folder of golden values: which files it is made of, and which checks it asks for.
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { checkConfig, readJson } from "../config.js";
import type { Check } from "./verify-check.js";

/** A folder of golden values. */
export interface GoldenSet {
  folder: string;
  /** The folder of what its files refer to and another set has (a judge, VAEs); the folder itself where its manifest names none. */
  base: string;
  /** The files that its `manifest.json` lists, relative to the folder. Undefined: it has no manifest, and must have what all sets have. */
  listed?: readonly string[];
}

/** Other fields say how the set was made. */
const Manifest = z.looseObject({
  base: z.string().optional(),
  files: z.union([z.array(z.string()), z.record(z.string(), z.unknown()).transform(Object.keys)]),
});

/** Files that describe a set. */
const ABOUT = ["README.md", "manifest.json"];

/** Opens a folder of golden values. Throws a UserError where its `manifest.json` is not of the documented form. */
export function openGoldenSet(folder: string): GoldenSet {
  const path = join(folder, "manifest.json");
  if (!existsSync(path)) return { folder, base: folder };
  const { base = ".", files } = checkConfig(Manifest, readJson(path, { large: true }), path);
  return { folder, base: join(folder, base), listed: files };
}

/**
 * The checks that a set asks for: with a manifest those whose files it lists or has; without one all but the `optional` ones
 * that it lacks.
 */
export function checksAskedFor(set: GoldenSet, checks: readonly Check[]): Check[] {
  return checks.filter(({ files, optional }) =>
    set.listed
      ? files.every((file) => partsOf(set, file).length > 0 || existsSync(join(set.folder, file)))
      : optional === undefined || existsSync(join(set.folder, optional)),
  );
}

/** The files that a check reads and that are not there; of a folder that is there, the listed files that it lacks. */
export function missingFiles(set: GoldenSet, { files, baseFiles = [] }: Check): string[] {
  return [
    ...files.flatMap((file) =>
      existsSync(join(set.folder, file)) ? absent(set, partsOf(set, file)) : [file],
    ),
    ...baseFiles.map((file) => join(set.base, file)).filter((path) => !existsSync(path)),
  ];
}

/** Names directly in the set that no check reads; `missing`: listed files among them that are not there. */
export function uncheckedFiles(
  set: GoldenSet,
  checks: readonly Check[],
): { unchecked: string[]; missing: string[] } {
  const read = new Set(checks.flatMap(({ files }) => files.map(topOf)));
  const unread = (name: string): boolean =>
    !read.has(topOf(name)) && !ABOUT.includes(name) && !name.startsWith(".");
  return { unchecked: namesIn(set).filter(unread), missing: absent(set, (set.listed ?? []).filter(unread)) };
}

/** What lies, or is listed, directly in a set: files and folders, by name. */
export function namesIn({ folder, listed = [] }: GoldenSet): string[] {
  const present = existsSync(folder) ? readdirSync(folder) : [];
  return [...new Set([...listed.map(topOf), ...present])].sort();
}

const topOf = (path: string): string => path.split("/")[0] as string;

/** The listed files that a file or folder of a check stands for. */
const partsOf = ({ listed = [] }: GoldenSet, file: string): string[] =>
  listed.filter((path) => path === file || path.startsWith(`${file}/`));

const absent = ({ folder }: GoldenSet, files: readonly string[]): string[] =>
  files.filter((file) => !existsSync(join(folder, file)));
