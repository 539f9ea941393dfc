// Preference labels from a scorer: AI feedback where there are no people.

import type { EncodedImage, PairFacts, PairSource, PreferencePair } from "@spo/data";
import { bytesOfImage, decodeRgb, FaultList } from "@spo/data";
import { checkedScores } from "./checked-scores.js";
import type { Reward, RgbImage } from "./reward.js";

/** How scores become labels. */
export interface LabelOptions {
  /** Score difference at which the better image is preferred with odds of e to 1. PickScore and ImageReward were trained with 1. */
  temperature?: number;
  /** Where the two probabilities are at most so far apart, the pair is a tie, ½ and ½. */
  tie?: number;
  /** 1 and 0 in place of probabilities. */
  hard?: boolean;
  /** Images scored together. */
  batch?: number;
  /** Pairs whose images do not decode are left without a label; else they are an error. */
  skipBroken?: boolean;
  onProgress?: (done: number, total: number) => void;
}

/** Scores of a pair's images. NaN where one does not decode. */
export interface PairScores {
  score0: number;
  score1: number;
}

/** What the labels came out as. */
export interface LabelSummary {
  pairs: number;
  ties: number;
  /** Neither 0, ½ nor 1. */
  soft: number;
  /** Middle of |score0 − score1|. */
  medianGap: number;
  /** Middle of the larger label: near 1 the labels say hardly more than who won, near ½ next to nothing. */
  medianWin: number;
  /** Of pairs that were labelled before, without ties on either side: share whose winner is the same. */
  agreement?: { share: number; pairs: number };
}

/**
 * Bradley and Terry: p(image 0 is better) = σ((score0 − score1)/temperature). Source: Bradley & Terry 1952; algorithm 3, softmax of scores.
 */
export function labelOf(
  { score0, score1 }: PairScores,
  { temperature = 1, tie = 0, hard = false }: Pick<LabelOptions, "temperature" | "tie" | "hard"> = {},
): number {
  const gap = (score0 - score1) / temperature;
  const apart = Math.abs(Math.tanh(gap / 2)); // |p0 − p1|
  if (gap === 0 || apart <= tie) return 0.5;
  return hard ? Number(gap > 0) : 1 / (1 + Math.exp(-gap));
}

/**
 * Scores every pair of a source, and gives the source with labels made of the scores. Holds two numbers a pair; images are decoded as they
 * are and let go. An image file that stands in several pairs of a prompt is scored once.
 *
 * Throws UserErrors: `DATA` listing images that do not decode, `NUMERIC` for scores that are no finite numbers.
 */
export async function labelPairs(
  source: PairSource,
  reward: Reward,
  options: LabelOptions = {},
): Promise<{ labelled: PairSource; scores: PairScores[][]; summary: LabelSummary }> {
  const { batch = 16, skipBroken = false, onProgress } = options;
  const total = source.blocks.reduce((sum, { rows }) => sum + rows, 0);
  const known = new Map<string, number>();
  const scores: PairScores[][] = [];
  const before: PairFacts[][] = [];
  let done = 0;
  for (const block of source.blocks.keys()) {
    const pairs = await source.pairs(block);
    const faults = new FaultList();
    const found: PairScores[] = [];
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
      const fresh = new Map<string | number, (typeof sides)[number]>();
      for (const [i, side] of sides.entries())
        if (side.key === undefined || !known.has(side.key)) fresh.set(side.key ?? i, side);
      const values = await scoreSides([...fresh.values()], reward, faults);
      const given = new Map([...fresh.keys()].map((key, i) => [key, values[i] as number]));
      for (const [key, value] of given) if (typeof key === "string") known.set(key, value);
      const of = (i: number): number => {
        const key = sides[i]?.key;
        return (key === undefined ? given.get(i) : known.get(key)) as number;
      };
      for (const i of part.keys()) found.push({ score0: of(2 * i), score1: of(2 * i + 1) });
      done += part.length;
      onProgress?.(done, total);
    }
    if (!skipBroken)
      faults.throwIfAny("Nothing was labelled", "With --skip-broken these pairs are left out.");
    scores.push(found);
    before.push(pairs.map(({ image0: _, image1: __, ...facts }) => facts));
  }
  const facts = before.map((block, b) =>
    block.map((pair, row) => labelledFacts(pair, scores[b]?.[row] as PairScores, reward.name, options)),
  );
  return {
    labelled: {
      layout: source.layout,
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
    },
    scores,
    summary: summarise(before.flat(), facts.flat(), scores.flat()),
  };
}

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

function labelledFacts(pair: PairFacts, scores: PairScores, kind: string, options: LabelOptions): PairFacts {
  if (Number.isNaN(scores.score0 + scores.score1))
    return { ...pair, labelled: false, label0: Number.NaN, label1: Number.NaN };
  const label0 = labelOf(scores, options);
  const { faults: _, ...rest } = pair; // of labels that no longer count
  return { ...rest, kind: pair.kind ?? kind, labelled: true, label0, label1: 1 - label0 };
}

function summarise(
  before: readonly PairFacts[],
  after: readonly PairFacts[],
  scores: readonly PairScores[],
): LabelSummary {
  const judged = after.flatMap((facts, i) =>
    facts.labelled ? [{ facts, was: before[i] as PairFacts, scores: scores[i] as PairScores }] : [],
  );
  const decided = judged.filter(
    ({ facts, was }) => was.labelled && was.label0 !== was.label1 && facts.label0 !== facts.label1,
  );
  const same = decided.filter(({ facts, was }) => facts.label0 > 0.5 === was.label0 > 0.5).length;
  return {
    pairs: judged.length,
    ties: judged.filter(({ facts }) => facts.label0 === 0.5).length,
    soft: judged.filter(({ facts }) => ![0, 0.5, 1].includes(facts.label0)).length,
    medianGap: median(judged.map(({ scores: { score0, score1 } }) => Math.abs(score0 - score1))),
    medianWin: median(judged.map(({ facts }) => Math.max(facts.label0, facts.label1))),
    ...(decided.length > 0 ? { agreement: { share: same / decided.length, pairs: decided.length } } : {}),
  };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN;
}
