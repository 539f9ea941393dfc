import { describe, expect, test } from "vitest";
import { filterByGaps, type GapFilter, parseGapCondition } from "./gap-filter.js";
import type { PairFacts, PairSource } from "./preference.js";

const of = (...texts: string[]) => texts.map(parseGapCondition);

const pair = (label0: number, gaps?: Record<string, number>): PairFacts => ({
  ...{ prompt: "a", label0, label1: 1 - label0, labelled: true, different: true, split: "train" },
  ...(gaps && { gaps }),
});

/** Two blocks in memory. */
function sourceOf(first: readonly PairFacts[], second: readonly PairFacts[] = []): PairSource {
  const blocks = [first, second];
  return {
    layout: "parquet",
    gapScorers: ["clip", "look"],
    blocks: blocks.map(({ length }) => ({ rows: length, bytes: 100 * length })),
    where: (block, row) => `file ${block}, row ${row}`,
    facts: async (block) => [...(blocks[block] ?? [])],
    pairs: async (block) =>
      (blocks[block] ?? []).map((facts) => ({
        ...facts,
        image0: new Uint8Array(),
        image1: new Uint8Array(),
      })),
    close: async () => {},
  };
}

const pairs = [
  pair(1, { clip: 0.1, look: -0.4 }), // kept
  pair(0, { clip: 0.2, look: -0.6 }), // look fails, alone
  pair(0.9, { clip: -0.1, look: 1 }), // clip fails, alone
  pair(1, { clip: 0, look: -0.5 }), // both fail: the bounds are open
  pair(0.5, { clip: -0.02, look: 3 }), // a tie of a small gap
  pair(0.5, { clip: -0.03, look: 0 }),
  { ...pair(Number.NaN), labelled: false },
];

describe("pairs by the gaps of scorers", () => {
  test("stay where every condition holds, and ties where the size of the gap is small", async () => {
    const filter: GapFilter = { require: of("clip>0", "look>-0.5"), ties: of("clip<0.03") };
    const { filtered, summary } = await filterByGaps(sourceOf(pairs.slice(0, 4), pairs.slice(4)), filter);
    expect(await filtered.facts(0)).toEqual([pairs[0]]);
    expect(await filtered.facts(1)).toEqual([pairs[4]]);
    expect(filtered.where(1, 0)).toBe("file 1, row 0");
    expect((await filtered.pairs(1)).map(({ gaps }) => gaps)).toEqual([pairs[4]?.gaps]);
    expect(filtered.blocks).toEqual([
      { rows: 1, bytes: 100 },
      { rows: 1, bytes: 100 },
    ]);
    expect(summary).toEqual({
      pairs: 6,
      wins: { before: 4, kept: 1 },
      ties: { before: 2, kept: 1 },
      conditions: [
        { condition: "clip>0", failed: 2, alone: 1 },
        { condition: "look>-0.5", failed: 2, alone: 1 },
        { condition: "of ties clip<0.03", failed: 1, alone: 1 },
      ],
      scorers: [
        { scorer: "clip", agree: 2, oppose: 1, equal: 1 },
        { scorer: "look", agree: 1, oppose: 3, equal: 0 },
      ],
      disagreements: [{ scorers: ["clip", "look"], pairs: 3, of: 3 }],
    });
  });

  test("that are ties are left out where only wins are asked for, and stay where nothing is", async () => {
    const some = await filterByGaps(sourceOf(pairs), { require: of("clip>0") });
    expect(some.summary).toMatchObject({ wins: { kept: 2 }, ties: { kept: 0 } });
    const all = await filterByGaps(sourceOf(pairs), {});
    expect(all.summary).toMatchObject({ wins: { kept: 4 }, ties: { kept: 2 } });
  });

  test("must have the gaps that are asked for, unless they are left out", async () => {
    const set = sourceOf([...pairs, pair(1, { look: 1 })]);
    const filter = { require: of("clip>0") };
    await expect(filterByGaps(set, filter)).rejects.toThrow("file 0, row 7: it has no gap by clip");
    expect((await filterByGaps(set, filter, { skipBroken: true })).summary.wins.kept).toBe(2);
  });

  test("that all fail are told with the scorer that prefers the others", async () => {
    const twenty = Array.from({ length: 20 }, (_, i) => pair(1, { clip: 1, look: i < 18 ? -1 : 1 }));
    await expect(filterByGaps(sourceOf(twenty), { require: of("look>2") })).rejects.toMatchObject({
      message: "Of 20 judged pairs none is left: 20 fail look>2. Nothing was written.",
      hint: "Look scores the preferred image lower in 18 of 20 pairs: with a scorer, higher must be better.",
    });
    // 3 of 4 may be chance; that the scorers never agree is told.
    await expect(filterByGaps(sourceOf(pairs), { require: of("look>2") })).rejects.toMatchObject({
      hint: "Clip and look prefer different images in 100.0 % of 3 pairs.",
    });
  });
});

test.each([
  ["clip", "is none"],
  [">3", "is none"],
  ["clip>", "is none"],
  ["clip>x", "is none"],
  ["clip=3", "is none"],
])("%s is no condition", (text, message) => {
  expect(() => parseGapCondition(text)).toThrow(message);
});

test.each<[GapFilter, string]>([
  [{ require: of("vqa>0") }, "nothing gives gaps by vqa"],
  [{ require: of("clip>0.5", "look>0", "clip<=0.5") }, "No gap meets both clip>0.5 and clip<=0.5"],
  [{ ties: of("clip>0.1") }, "--ties clip>0.1 bounds no size"],
  [{ ties: of("clip<-0.1") }, "--ties clip<-0.1 bounds no size"],
])("conditions that cannot hold are refused", async (filter, message) => {
  await expect(filterByGaps(sourceOf(pairs), filter)).rejects.toThrow(message);
});

test("a lower and an upper bound that meet in one number are met by it", async () => {
  const { summary } = await filterByGaps(sourceOf(pairs), { require: of("clip>=0.1", "clip<=0.1") });
  expect(summary.wins.kept).toBe(1);
});
