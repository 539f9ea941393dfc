import { FaultList } from "./fault-list.js";
import { ImagePool } from "./image-pool.js";
import type { PairBatch, PairLoaderOptions } from "./pair-loader.js";
import type { PairSet, TrainingPair } from "./pair-set.js";

/** A pair with its images as RGB bytes, [side, side, 3] each. */
export type DecodedPair = Omit<TrainingPair, "image0" | "image1"> & Record<"image0" | "image1", Uint8Array>;

/**
 * Pairs by their row in the set (data order, 0 … size − 1), each row once. Every block that has one of them is read once and let go: what
 * stays in memory are the decoded images of the wanted rows.
 *
 * Throws a UserError (`DATA`) that lists the images which do not decode.
 */
export async function readRows(
  set: PairSet,
  rows: readonly number[],
  { side, kernel, workers }: Pick<PairLoaderOptions, "side" | "kernel" | "workers">,
): Promise<Map<number, DecodedPair>> {
  const wanted = [...new Set(rows)].sort((a, b) => a - b);
  const found = new Map<number, DecodedPair>();
  const faults = new FaultList();
  const pool = new ImagePool(workers);
  try {
    let first = 0;
    for (const [block, { rows: length }] of set.blocks.entries()) {
      const here = wanted.filter((row) => row >= first && row < first + length);
      const pairs = here.length > 0 ? await set.pairs(block) : [];
      await Promise.all(
        here.map(async (row) => {
          const { image0, image1, ...facts } = pairs[row - first] as TrainingPair;
          const images = await pool.pixels([image0, image1], { side, kernel });
          const sides = images.map((image, which) => {
            if ("result" in image) return image.result;
            faults.add(`${facts.where}, image ${which}`, `does not decode: ${image.fault}`);
            return new Uint8Array(0);
          });
          found.set(row, { ...facts, image0: sides[0] as Uint8Array, image1: sides[1] as Uint8Array });
        }),
      );
      first += length;
    }
  } finally {
    await pool.close();
  }
  faults.throwIfAny(
    "The preference set has broken images",
    "npx spo data check lists all of them; npx spo data export --skip-broken writes a set without them.",
  );
  return found;
}

/** Decoded pairs as one batch. */
export function batchOf(pairs: readonly DecodedPair[], side: number): PairBatch {
  const images = (of: (pair: DecodedPair) => Uint8Array): Uint8Array => {
    const bytes = new Uint8Array(3 * side * side * pairs.length);
    for (const [i, pair] of pairs.entries()) bytes.set(of(pair), 3 * side * side * i);
    return bytes;
  };
  return {
    prompts: pairs.map(({ prompt }) => prompt),
    label0: pairs.map(({ label0 }) => label0),
    label1: pairs.map(({ label1 }) => label1),
    examples: pairs.map(({ examples }) => examples),
    image0: images(({ image0 }) => image0),
    image1: images(({ image1 }) => image1),
    side,
    where: pairs.map(({ where }) => where),
  };
}
