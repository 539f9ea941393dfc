import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PairSource } from "@spo/data";
import sharp from "sharp";
import { afterAll, beforeAll, expect, test } from "vitest";
import { inRanks } from "../gathering-worlds.fixture.js";
import type { Reward } from "./reward.js";
import { scorePairs } from "./score-pairs.js";

const folder = mkdtempSync(join(tmpdir(), "spo-score-pairs-"));
const file = (level: number): string => join(folder, `${level}.png`);
beforeAll(async () => {
  for (let r = 1; r <= 6; r++)
    await sharp({ create: { width: 2, height: 2, channels: 3, background: { r, g: 0, b: 0 } } })
      .png()
      .toFile(file(r));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Two blocks. Images stand in several pairs of one prompt, and one of them under another prompt. */
const BLOCKS = [
  [
    [1, 2],
    [2, 3],
    [3, 1],
  ],
  [
    [4, 1],
    [5, 6],
  ],
] as const;
const source: PairSource = {
  layout: "jsonl",
  gapScorers: [],
  blocks: BLOCKS.map(({ length }) => ({ rows: length, bytes: 0 })),
  where: (block, row) => `${block}/${row}`,
  facts: async () => [],
  pairs: async (block) =>
    (BLOCKS[block] ?? []).map(([a, b]) => ({
      ...{ prompt: a === 5 ? "other" : "p", label0: 1, label1: 0, labelled: true, different: true },
      ...{ split: "train", image0: { path: file(a) }, image1: { path: file(b) } },
    })),
  close: async () => {},
};

const scored = BLOCKS.map((block) => block.map(([a, b]) => ({ score0: a, score1: b })));

test.each([1, 2, 3])(
  "%i processes score every image file of a prompt once, to the same scores",
  async (size) => {
    const seen: number[] = [];
    const red: Reward = {
      name: "red",
      score: (images) => {
        const levels = images.map(({ data }) => data[0] as number);
        seen.push(...levels);
        return levels;
      },
    };
    const all = await inRanks(size, (world) => scorePairs(source, red, { batch: 1, world }));
    for (const { scores } of all) expect(scores).toEqual(scored);
    expect(seen.sort()).toEqual([1, 2, 3, 4, 5, 6]);
  },
);

test("an image that does not decode is an error where its pair is scored, or a score of NaN for all", async () => {
  const broken: PairSource = {
    ...source,
    pairs: async (block) =>
      (await source.pairs(block)).map((pair, row) =>
        block === 0 && row === 1 ? { ...pair, image1: new Uint8Array([1, 2]) } : pair,
      ),
  };
  const red: Reward = { name: "red", score: (images) => images.map(({ data }) => data[0] as number) };
  const all = await inRanks(2, (world) => scorePairs(broken, red, { batch: 1, skipBroken: true, world }));
  for (const { scores } of all) expect(scores[0]?.[1]).toEqual({ score0: 2, score1: Number.NaN });
  await expect(scorePairs(broken, red)).rejects.toThrow(/0\/1, image 1/);
});
