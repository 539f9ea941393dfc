// Pairs whose images are files and whose text is small: everything but the images is in memory.
import type { FaultList } from "../fault-list.js";
import type { Layout, PairSource, PreferencePair } from "../preference.js";
import { pairsOfRanking } from "./ranking.js";

/** A pair of a list and the place where it stands. */
export interface ListedPair {
  pair: PreferencePair;
  where: string;
}

const ROWS = 256;
/** About what a listed pair takes. */
const BYTES = 500;

/** A source over pairs that were listed already. */
export function listedSource(layout: Layout, listed: readonly ListedPair[]): PairSource {
  const blocks = Array.from({ length: Math.ceil(listed.length / ROWS) }, (_, block) => {
    const rows = Math.min(ROWS, listed.length - block * ROWS);
    return { rows, bytes: rows * BYTES };
  });
  const of = (block: number): readonly ListedPair[] =>
    listed.slice(block * ROWS, block * ROWS + (blocks[block]?.rows ?? 0));
  return {
    layout,
    blocks,
    where: (block, row) => listed[block * ROWS + row]?.where ?? `pair ${block * ROWS + row}`,
    facts: async (block) => of(block).map(({ pair: { image0: _, image1: __, ...facts } }) => facts),
    pairs: async (block) => of(block).map(({ pair }) => pair),
    close: async () => {},
  };
}

/** What a record of a list may say about a pair or a ranked list of images. */
export interface ListRecord {
  prompt: unknown;
  images: unknown;
  /** Soft labels of two images. */
  labels?: unknown;
  /** One an image, smaller is better. */
  ranking?: unknown;
  /** Images stand from best to worst where there are neither labels nor a ranking. */
  bestFirst: boolean;
  examples?: unknown;
  labelled?: unknown;
  different?: unknown;
  split?: unknown;
  kind?: unknown;
}

/** The pairs of one record. What is wrong with it goes into `faults`. */
export function pairsOfRecord(
  record: ListRecord,
  {
    where,
    split,
    imagePath,
    faults,
  }: { where: string; split: string; imagePath: (name: string) => string; faults: FaultList },
): ListedPair[] {
  const { images, labels, ranking } = record;
  if (!isList(images, isText) || images.length < 2) {
    faults.add(where, "it names no two images");
    return [];
  }
  const shared = {
    prompt: isText(record.prompt) ? record.prompt : "",
    examples: isNumber(record.examples) && record.examples >= 1 ? record.examples : undefined,
    labelled: record.labelled !== false,
    different: record.different !== false,
    split: isText(record.split) && record.split !== "" ? record.split : split,
    kind: isText(record.kind) && record.kind !== "" ? record.kind : undefined,
  };
  const pair = (first: number, second: number, label0: number, label1: number): ListedPair => ({
    pair: {
      ...shared,
      label0,
      label1,
      image0: { path: imagePath(images[first] as string) },
      image1: { path: imagePath(images[second] as string) },
    },
    where,
  });
  if (labels !== undefined) {
    if (!isList(labels, isNumber) || labels.length !== images.length || images.length !== 2) {
      faults.add(where, `${images.length} images need two labels; a longer list needs a ranking`);
      return [];
    }
    return [pair(0, 1, labels[0] as number, labels[1] as number)];
  }
  const ranks = ranking ?? (record.bestFirst ? images.map((_, i) => i) : undefined);
  if (ranks === undefined && shared.labelled === false && images.length === 2)
    return [pair(0, 1, Number.NaN, Number.NaN)];
  if (!isList(ranks, isNumber) || ranks.length !== images.length) {
    faults.add(where, `${images.length} images need as many ranks`);
    return [];
  }
  return pairsOfRanking(ranks).map(({ first, second, label0, label1 }) =>
    pair(first, second, label0, label1),
  );
}

const isText = (value: unknown): value is string => typeof value === "string";
const isNumber = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);
const isList = <T>(value: unknown, is: (item: unknown) => item is T): value is T[] =>
  Array.isArray(value) && value.every(is);
