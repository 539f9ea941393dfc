// Fingerprints of data, by which a run notices other data under the same path.
import { createHash, type Hash } from "node:crypto";
import { statSync } from "node:fs";
import { relative } from "node:path";
import type { EncodedImage, PairBlock, PairFacts, PairSource } from "./preference.js";

/** A number of things, and a hash of what is read of all of them anyway. */
export interface Fingerprint {
  count: number;
  sha256: string;
}

/** Of prompts, in their order. */
export function fingerprintOfPrompts(prompts: readonly string[]): Fingerprint {
  const hash = createHash("sha256");
  for (const prompt of prompts) hash.update(`${prompt}\n`);
  return { count: prompts.length, sha256: hash.digest("hex") };
}

/** Fingerprints by what they are of, as a run's log has them: each a number and the beginning of a hash. */
export const dataFacts = (prints: Readonly<Record<string, Fingerprint>>): Record<string, string | number> =>
  Object.fromEntries(
    Object.entries(prints).flatMap(([name, { count, sha256 }]) => [
      [name, count],
      [`${name}Sha256`, sha256.slice(0, 16)],
    ]),
  );

/** Images in files whose size is asked for, spread over a set. */
const SIZES = 1000;

/**
 * Gathers the fingerprint of a set of pairs while they are looked through: prompts, labels and flags of all pairs, the sizes of blocks in
 * parquet files, names of images in files, and the sizes of at most 1,000 of those.
 */
export class PairFingerprint {
  readonly #hash: Hash = createHash("sha256");
  readonly #every: number;
  #count = 0;

  constructor({ blocks }: Pick<PairSource, "blocks">) {
    this.#every = Math.max(1, Math.ceil(blocks.reduce((sum, { rows }) => sum + rows, 0) / SIZES));
  }

  /** The next block, its pairs in their order; with images where reading them costs nothing. */
  add(
    { rows, bytes }: PairBlock,
    pairs: readonly (PairFacts & Partial<Record<"image0" | "image1", EncodedImage>>)[],
  ): void {
    this.#hash.update(`${rows} ${bytes}\n`);
    for (const pair of pairs) {
      const { prompt, label0, label1, labelled, different, split, examples } = pair;
      const isAsked = this.#count++ % this.#every === 0;
      const images = [pair.image0, pair.image1].map((image) =>
        image === undefined || image instanceof Uint8Array ? "" : nameOf(image, isAsked),
      );
      this.#hash.update(
        `${JSON.stringify([prompt, label0, label1, labelled, different, split, examples, ...images])}\n`,
      );
    }
  }

  result(): Fingerprint {
    return { count: this.#count, sha256: this.#hash.digest("hex") };
  }
}

/** Of all pairs of a source, without reading their images. */
export async function fingerprintOfPairs(source: PairSource): Promise<Fingerprint> {
  const print = new PairFingerprint(source);
  for (const [block, each] of source.blocks.entries()) print.add(each, await source.facts(block));
  return print.result();
}

/** Without the place of the set itself, which may be moved. */
function nameOf({ path, root }: { path: string; root?: string }, withSize: boolean): string {
  const name = root === undefined ? path : relative(root, path);
  return withSize ? `${name} ${statSync(path, { throwIfNoEntry: false })?.size}` : name;
}
