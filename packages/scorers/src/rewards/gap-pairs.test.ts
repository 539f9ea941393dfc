import { filterByGaps, type PairFacts, type PairSource, parseGapCondition } from "@spo/data";
import sharp from "sharp";
import { expect, test } from "vitest";
import { withGaps } from "./gap-pairs.js";
import type { Reward } from "./reward.js";

const grey = async (level: number): Promise<Uint8Array> => {
  const background = { r: level, g: level, b: level };
  return new Uint8Array(
    await sharp({ create: { width: 2, height: 2, channels: 3, background } })
      .png()
      .toBuffer(),
  );
};
const brightness: Reward = { name: "bright", score: (images) => images.map(({ data }) => data[0] as number) };

async function sourceOf(
  rows: readonly [label0: number, level0: number, level1: number][],
): Promise<PairSource> {
  const facts = rows.map(
    ([label0]): PairFacts => ({
      ...{ prompt: "a", label0, label1: 1 - label0, labelled: true, different: true, split: "train" },
      gaps: { other: 7, bright: -1000 },
    }),
  );
  const images = await Promise.all(
    rows.map(async ([, a, b]) => ({ image0: await grey(a), image1: await grey(b) })),
  );
  return {
    layout: "parquet",
    gapScorers: ["other"],
    blocks: [{ rows: rows.length, bytes: 0 }],
    where: (_, row) => `row ${row}`,
    facts: async () => facts,
    pairs: async () => facts.map((of, i) => ({ ...of, ...(images[i] as (typeof images)[number]) })),
    close: async () => {},
  };
}

test("a gap is the score of the preferred image less the other's, whichever side it is, beside the gaps of others", async () => {
  const source = await sourceOf([
    [1, 30, 10],
    [0.2, 30, 10],
    [0.5, 10, 30],
  ]);
  const scored = await withGaps(source, brightness);
  expect(scored.gapScorers).toEqual(["other", "bright"]);
  const gaps = (await scored.facts(0)).map((of) => of.gaps);
  expect(gaps).toEqual([
    { other: 7, bright: 20 },
    { other: 7, bright: -20 },
    { other: 7, bright: -20 },
  ]);
  const { filtered } = await filterByGaps(scored, { require: [parseGapCondition("bright>0")] });
  expect(await filtered.pairs(0)).toHaveLength(1);
});

test("an image that does not decode is an error, or leaves the pair without a gap", async () => {
  const whole = await sourceOf([[1, 30, 10]]);
  const source: PairSource = {
    ...whole,
    pairs: async () => (await whole.pairs(0)).map((pair) => ({ ...pair, image1: new Uint8Array([1, 2, 3]) })),
  };
  await expect(withGaps(source, brightness)).rejects.toThrow("row 0, image 1");
  const scored = await withGaps(source, brightness, { skipBroken: true });
  expect((await scored.facts(0))[0]?.gaps).toEqual({ other: 7 });
});
