// Scores of a preference set's pairs.

import type { EncodedImage, PairFacts, PairSource, PreferencePair } from "@spo/data";
import { bytesOfImage, decodeRgb, FaultList } from "@spo/data";
import { WORLD_OF_ONE, type World } from "@spo/torch/distributed";
import { checkedScores } from "./checked-scores.js";
import type { Reward, RgbImage } from "./reward.js";

/** How pairs are scored. */
export interface ScoreOptions {
  /** Pairs scored together. */
  batch?: number;
  /** Pairs whose images do not decode get scores of NaN; else they are an error. */
  skipBroken?: boolean;
  onProgress?: (done: number, total: number) => void;
  /** The processes that score together, each its batches. Default: this one alone. */
  world?: World;
}

/** Scores of a pair's images. NaN where one does not decode. */
export interface PairScores {
  score0: number;
  score1: number;
}

/**
 * Scores every pair of a source: the scores and what is known of the pairs, by block and row. Holds two numbers a pair; images are decoded
 * as they are and let go. An image file that stands in several pairs of a prompt is scored once. The batches, and so the scores, are the
 * same for any number of processes.
 *
 * Throws UserErrors: `DATA` listing images that do not decode, `NUMERIC` for scores that are no finite numbers.
 */
export async function scorePairs(
  source: PairSource,
  reward: Reward,
  { batch = 16, skipBroken = false, onProgress, world = WORLD_OF_ONE }: ScoreOptions = {},
): Promise<{ scores: PairScores[][]; facts: PairFacts[][] }> {
  const total = source.blocks.reduce((sum, { rows }) => sum + rows, 0);
  /** Each scored image has a number; of image files, by prompt and path. */
  const known = new Map<string, number>();
  const numbers: [image0: number, image1: number][][] = [];
  const mine: { first: number; values: number[] }[] = [];
  const facts: PairFacts[][] = [];
  let [done, batches, images] = [0, 0, 0];
  for (const block of source.blocks.keys()) {
    const pairs = await source.pairs(block);
    const faults = new FaultList();
    const found: [number, number][] = [];
    for (let start = 0; start < pairs.length; start += batch) {
      const part = pairs.slice(start, start + batch);
      const sides = part.flatMap(({ prompt, image0, image1 }, i) =>
        [image0, image1].map((image, which) => ({
          prompt,
          image,
          key: image instanceof Uint8Array ? undefined : JSON.stringify([prompt, image.path]),
          where: `${source.where(block, start + i)}, image ${which}`,
        })),
      );
      const fresh: typeof sides = [];
      const numberOf = sides.map((side) => {
        const before = side.key === undefined ? undefined : known.get(side.key);
        if (before !== undefined) return before;
        const number = images + fresh.length;
        if (side.key !== undefined) known.set(side.key, number);
        fresh.push(side);
        return number;
      });
      if (batches++ % world.size === world.rank)
        mine.push({ first: images, values: await scoreSides(fresh, reward, faults) });
      images += fresh.length;
      for (const i of part.keys()) found.push([numberOf[2 * i] as number, numberOf[2 * i + 1] as number]);
      done += part.length;
      onProgress?.(done, total);
    }
    if (!skipBroken) faults.throwIfAny("Nothing was written", "With --skip-broken these pairs are left out.");
    numbers.push(found);
    facts.push(pairs.map(({ image0: _, image1: __, ...of }) => of));
  }
  const all = Array<number>(images);
  for (const { first, values } of (await world.gather(mine)).flat())
    for (const [i, value] of values.entries()) all[first + i] = value;
  const scores = numbers.map((block) =>
    block.map(([a, b]) => ({ score0: all[a] as number, score1: all[b] as number })),
  );
  return { scores, facts };
}

/** A source with other facts of its pairs, by block and row; the images are its own. */
export const withFacts = (
  source: PairSource,
  facts: readonly (readonly PairFacts[])[],
  gapScorers: readonly string[] = [],
): PairSource => ({
  layout: source.layout,
  gapScorers,
  blocks: source.blocks,
  where: (block, row) => source.where(block, row),
  facts: async (block) => facts[block] as PairFacts[],
  pairs: async (block) =>
    (await source.pairs(block)).map(
      ({ image0, image1 }, row): PreferencePair => ({
        ...(facts[block]?.[row] as PairFacts),
        image0,
        image1,
      }),
    ),
  close: () => source.close(),
});

async function scoreSides(
  sides: readonly { prompt: string; image: EncodedImage; where: string }[],
  reward: Reward,
  faults: FaultList,
): Promise<number[]> {
  const decoded = await Promise.all(
    sides.map(async ({ image, where }): Promise<RgbImage | undefined> => {
      try {
        return await decodeRgb(bytesOfImage(image), where);
      } catch (error) {
        faults.add(where, (error as Error).message.replace(`${where} `, ""));
        return undefined;
      }
    }),
  );
  const whole = sides.flatMap(({ prompt }, i) => {
    const image = decoded[i];
    return image ? [{ prompt, image, i }] : [];
  });
  const values = Array<number>(sides.length).fill(Number.NaN);
  if (whole.length === 0) return values;
  const scores = await checkedScores(
    reward,
    whole.map(({ image }) => image),
    whole.map(({ prompt }) => prompt),
  );
  for (const [j, { i }] of whole.entries()) values[i] = scores[j] as number;
  return values;
}
