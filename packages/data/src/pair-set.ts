import { UserError } from "@spo/torch/files";
import { FaultList } from "./fault-list.js";
import { type Fingerprint, PairFingerprint } from "./fingerprint.js";
import { type OpenOptions, openPairs } from "./layouts/open.js";
import type { Place } from "./order.js";
import {
  faultsOfPair,
  isTie,
  type PairBlock,
  type PairFacts,
  type PairSource,
  type PreferencePair,
} from "./preference.js";
import { warnOfPromptWeights } from "./warn-of-prompt-weights.js";

/** Which pairs of a set take part. */
export interface PairSetOptions extends OpenOptions {
  /** Only pairs of this split; default all. */
  split?: string;
  /** Leave out pairs with equal labels. */
  dropTies?: boolean;
  /** At most so many pairs, spread evenly over the set. */
  limit?: number;
}

/** A pair that is trained on: judged, its two images different, its count known. */
export interface TrainingPair extends PreferencePair {
  examples: number;
  where: string;
}

/** The pairs of a source that are trained on. Holds a few bytes a pair; images stay where they are. */
export class PairSet {
  readonly size: number;
  /** The chosen pairs by block of the source. */
  readonly blocks: readonly PairBlock[];
  /** Of all pairs of the source, also of those that are left out. */
  readonly fingerprint: Fingerprint;
  readonly #source: PairSource;
  readonly #chosen: readonly Uint32Array[];
  readonly #examples: readonly Uint32Array[];

  /** @internal Use `openPairSet`. */
  constructor(
    source: PairSource,
    chosen: readonly Uint32Array[],
    examples: readonly Uint32Array[],
    fingerprint: Fingerprint,
  ) {
    this.fingerprint = fingerprint;
    this.#source = source;
    this.#chosen = chosen;
    this.#examples = examples;
    this.blocks = source.blocks.map(({ bytes }, block) => ({ bytes, rows: chosen[block]?.length ?? 0 }));
    this.size = this.blocks.reduce((sum, { rows }) => sum + rows, 0);
  }

  /** The chosen pairs of a block, in the order of the data. */
  async pairs(block: number): Promise<TrainingPair[]> {
    const all = await this.#source.pairs(block);
    return Array.from(this.#chosen[block] ?? [], (row, i) => ({
      ...(all[row] as PreferencePair),
      examples: this.#examples[block]?.[i] ?? 1,
      where: this.#source.where(block, row),
    }));
  }

  /** The different prompts of the chosen pairs, in the order of the data; no image is read. */
  async prompts(): Promise<string[]> {
    const found = new Set<string>();
    for (const [block, rows] of this.#chosen.entries()) {
      const facts = await factsOf(this.#source, block);
      for (const row of rows) found.add((facts[row] as PairFacts).prompt);
    }
    return [...found];
  }

  /** Pairs of the prompt that a chosen pair has. */
  examplesAt({ block, row }: Place): number {
    return this.#examples[block]?.[row] ?? 1;
  }

  close(): Promise<void> {
    return this.#source.close();
  }
}

/**
 * Opens a preference set for training: looks through labels and prompts of all pairs, and chooses those that teach something. Pairs that
 * nobody judged and pairs of one image with itself are left out.
 *
 * Throws a UserError (`DATA`) that lists every wrong label and missing prompt with file and row, or says that no pair is left.
 */
export async function openPairSet(
  paths: string | readonly string[],
  { split, dropTies = false, limit, ...options }: PairSetOptions = {},
): Promise<PairSet> {
  const source = await openPairs(paths, options);
  try {
    const chosen: Uint32Array[] = [];
    const said: (number | undefined)[][] = [];
    const prompts: string[][] = [];
    const counts = new Map<string, number>();
    const splits = new Map<string, number>();
    const faults = new FaultList();
    const print = new PairFingerprint(source);
    for (const block of source.blocks.keys()) {
      const facts = await factsOf(source, block);
      print.add(source.blocks[block] as PairBlock, facts);
      const rows: number[] = [];
      for (const [row, pair] of facts.entries()) {
        for (const fault of faultsOfPair(pair)) faults.add(source.where(block, row), fault);
        splits.set(pair.split, (splits.get(pair.split) ?? 0) + 1);
        if (!pair.labelled || !pair.different || (split !== undefined && pair.split !== split)) continue;
        counts.set(pair.prompt, (counts.get(pair.prompt) ?? 0) + 1);
        if (!(dropTies && isTie(pair))) rows.push(row);
      }
      chosen.push(Uint32Array.from(rows));
      said.push(rows.map((row) => (facts[row] as PairFacts).examples));
      prompts.push(rows.map((row) => (facts[row] as PairFacts).prompt));
    }
    const name = typeof paths === "string" ? paths : paths.join(", ");
    faults.throwIfAny(
      name,
      "npx spo data check tells more; npx spo data export leaves them out with --skip-broken.",
    );
    warnOfPromptWeights(name, counts.keys());
    const examples = said.map((block, b) =>
      Uint32Array.from(block, (count, i) => count ?? counts.get(prompts[b]?.[i] as string) ?? 1),
    );
    const kept = limit === undefined ? undefined : spread(chosen, limit);
    const set = kept
      ? new PairSet(source, pick(chosen, kept), pick(examples, kept), print.result())
      : new PairSet(source, chosen, examples, print.result());
    if (set.size === 0) {
      const there = [...splits].map(([which, count]) => `${count} of ${which}`).join(", ") || "none at all";
      throw new UserError(
        `${name}: no pair${split === undefined ? "" : ` of the split ${split}`} is left to train on; it has ${there}.`,
        {
          code: "DATA",
          hint: "Unjudged pairs and pairs of equal images are left out, for Diffusion-DPO ties too.",
        },
      );
    }
    return set;
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** Labels and prompts of a block. Of other layouts than Parquet the images' names are in memory, and tell whether the images differ. */
const factsOf = (source: PairSource, block: number): Promise<PairFacts[]> =>
  source.layout === "parquet" ? source.facts(block) : source.pairs(block);

/** Which places of each block stay when `limit` of all are kept, as evenly as whole numbers allow. */
function spread(blocks: readonly Uint32Array[], limit: number): boolean[][] {
  const size = blocks.reduce((sum, { length }) => sum + length, 0);
  const before = (place: number): number => Math.floor((place * Math.min(limit, size)) / size);
  let place = 0;
  return blocks.map((block) => Array.from(block, () => before(place + 1) > before(place++)));
}

const pick = (blocks: readonly Uint32Array[], kept: readonly boolean[][]): Uint32Array[] =>
  blocks.map((block, b) => block.filter((_, i) => kept[b]?.[i]));
