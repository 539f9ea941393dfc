import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, expect, test } from "vitest";
import { inRanks } from "../gathering-worlds.fixture.js";
import type { Reward } from "../rewards/reward.js";
import { scoreSet } from "./score-set.js";

const folder = mkdtempSync(join(tmpdir(), "spo-score-set-"));
const images = Array.from({ length: 7 }, (_, i) => ({
  ...{ path: join(folder, `${i}.png`), prompt: `p${i}`, seed: 0, image: i },
}));
beforeAll(async () => {
  for (const [i, { path }] of images.entries())
    await sharp({ create: { width: 2, height: 2, channels: 3, background: { r: i, g: 0, b: 0 } } })
      .png()
      .toFile(path);
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Scores depend on what is scored together, as a model's last bits do. */
const redAndNumber = (seen: number[]): Reward => ({
  name: "red",
  score: (batch) => {
    seen.push(batch.length);
    return batch.map(({ data }, i) => (data[0] as number) + i / 10);
  },
  features: (batch) => batch.map(({ data }) => [data[0] as number, batch.length]),
});

test.each([1, 2, 3, 5])(
  "%i processes score every image once, to the same scores and features",
  async (size) => {
    const expected = {
      scores: [0, 1.1, 2, 3.1, 4, 5.1, 6],
      features: [0, 1, 2, 3, 4, 5, 6].map((i) => [i, i < 6 ? 2 : 1]),
    };
    const seen: number[] = [];
    const all = await inRanks(size, (world) =>
      scoreSet(images, redAndNumber(seen), { batch: 2, features: true, world }),
    );
    for (const found of all) expect(found).toEqual(expected);
    expect(seen.sort()).toEqual([1, 2, 2, 2]);
  },
);
