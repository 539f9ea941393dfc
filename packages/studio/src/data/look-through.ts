// What a preference set holds, pair by pair, and what is wrong with it.
import { createHash } from "node:crypto";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { fileOfRun, readOrdinary } from "@spo/records";
import { z } from "zod";
import type { DataFacts, DataPair } from "../api.js";
import { PAIR_LIST } from "../judging/pairs-to-judge.js";
import { imageType } from "../pictures.js";

const MOST_BYTES = 256e6;
const MOST_IMAGE = 64e6;
/** Pairs that are looked at in one go; then others may compute. */
const AT_ONCE = 20;

const Row = z.object({
  prompt: z.string(),
  image_0: z.string(),
  image_1: z.string(),
  label_0: z.number().optional(),
  label_1: z.number().optional(),
  has_label: z.boolean().optional(),
  are_different: z.boolean().optional(),
  split: z.string().optional(),
});
type Row = z.output<typeof Row>;

/** A set that was looked through. */
export interface LookedThrough {
  facts: DataFacts;
  pairs: DataPair[];
  /** The files of each pair, relative to the folder. */
  files: [string, string][];
}

/** Reads the list of a set's folder and all of its pictures, of which it keeps a hash. Lines that are no pairs are counted. */
export async function lookThrough(folder: string): Promise<LookedThrough> {
  const lines = readOrdinary(join(folder, PAIR_LIST), MOST_BYTES).toString("utf8").split("\n");
  const found = lines.filter((line) => line.trim() !== "").map(rowOf);
  const rows = found.filter((row) => row !== undefined);
  const hashes: (string | undefined)[][] = [];
  const known = new Map<string, string | undefined>(); // a picture may be in many pairs
  const hashed = (file: string): string | undefined => {
    if (!known.has(file)) known.set(file, hashOf(folder, file));
    return known.get(file);
  };
  for (const [i, { image_0, image_1 }] of rows.entries()) {
    if (i % AT_ONCE === 0) await setImmediate();
    hashes.push([image_0, image_1].map(hashed));
  }
  const seen = new Set<string>();
  const splitsOf = new Map<string, Set<string>>();
  const note = (what: string | undefined, split: string | undefined): void => {
    if (what !== undefined && split !== undefined)
      splitsOf.set(what, (splitsOf.get(what) ?? new Set()).add(split));
  };
  for (const [i, { prompt, split }] of rows.entries())
    for (const what of [`prompt ${prompt}`, ...(hashes[i] ?? [])]) note(what, split);
  const pairs = rows.map((row, i): DataPair => {
    const [a, b] = hashes[i] as [string | undefined, string | undefined];
    const key = `${row.prompt} ${[a, b].sort()}`;
    const isRepeated = a !== undefined && b !== undefined && seen.has(key);
    seen.add(key);
    const isIn = (what: string | undefined): boolean =>
      (what === undefined ? 0 : (splitsOf.get(what)?.size ?? 0)) > 1;
    const flags: DataPair["flags"] = [
      ...(a === undefined || b === undefined ? (["broken"] as const) : []),
      ...(isRepeated ? (["duplicate"] as const) : []),
      ...(a !== undefined && a === b && row.are_different !== false ? (["same picture"] as const) : []),
      ...(isIn(`prompt ${row.prompt}`) || isIn(a) || isIn(b) ? (["leak"] as const) : []),
    ];
    return { prompt: row.prompt, label: labelOf(row), split: row.split ?? "", flags };
  });
  const files = rows.map(({ image_0, image_1 }): [string, string] => [image_0, image_1]);
  return { facts: factsOf(pairs, found.length - rows.length), pairs, files };
}

function rowOf(line: string): Row | undefined {
  try {
    return Row.parse(JSON.parse(line));
  } catch {
    return undefined;
  }
}

/** Of a picture's bytes; undefined where it is not there or is none. */
function hashOf(folder: string, file: string): string | undefined {
  try {
    const bytes = fileOfRun(folder, file, MOST_IMAGE);
    return bytes && imageType(bytes)
      ? createHash("sha256").update(bytes).digest("base64url").slice(0, 22)
      : undefined;
  } catch {
    return undefined;
  }
}

function labelOf({ has_label, label_0, label_1 }: Row): DataPair["label"] {
  if (has_label === false || label_0 === undefined || label_1 === undefined) return "none";
  return label_0 === label_1 ? "tie" : label_0 > label_1 ? "first" : "second";
}

function factsOf(pairs: readonly DataPair[], faults: number): DataFacts {
  const count = (is: (pair: DataPair) => boolean): number => pairs.filter(is).length;
  const splits: Record<string, number> = {};
  for (const { split } of pairs) splits[split] = (splits[split] ?? 0) + 1;
  return {
    pairs: pairs.length,
    prompts: new Set(pairs.map(({ prompt }) => prompt)).size,
    splits: Object.fromEntries(Object.entries(splits).filter(([split]) => split !== "")),
    first: count(({ label }) => label === "first"),
    second: count(({ label }) => label === "second"),
    ties: count(({ label }) => label === "tie"),
    unlabelled: count(({ label }) => label === "none"),
    faults,
  };
}
