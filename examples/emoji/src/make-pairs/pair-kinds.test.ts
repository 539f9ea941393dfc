import { Generator, rand, scope, type Tensor } from "@spo/torch";
import { expect, test } from "vitest";
import { damagedPairs, fadedPairs, mismatchedPairs, realPairs } from "./pair-kinds.js";

const random = (): Generator => new Generator(5);
const captionOf = ["apple", "apple", "boat", "cloud"];
const real = rand([4, 3, 64, 64], { generator: random() }).mul(1.6).sub(1);
const numbers = (images: Tensor): string => String(images.toTypedArray());
const rows = captionOf.map((_, row) => scope(() => numbers(real.narrow(0, row, 1))));

test.each([
  ["damaged", damagedPairs],
  ["faded", fadedPairs],
])("%s pairs have the artwork itself over another image of the same", (kind, make) => {
  const pairs = make({ real, captionOf, rows: [0, 2, 3] }, 12, random());
  expect(pairs).toHaveLength(12);
  for (const pair of pairs) {
    const row = rows.indexOf(numbers(pair.win));
    expect([0, 2, 3]).toContain(row);
    expect([pair.caption, pair.kind]).toEqual([captionOf[row], kind]);
    expect(rows).not.toContain(numbers(pair.lose));
  }
});

test("mismatched pairs have artwork over that of another concept", () => {
  const pairs = mismatchedPairs({ real, captionOf, rows: [0, 1, 2, 3] }, 12, random());
  expect(pairs).toHaveLength(12);
  for (const { caption, win, lose } of pairs) {
    expect(captionOf[rows.indexOf(numbers(win))]).toBe(caption);
    expect(captionOf.filter((other) => other !== caption)).toContain(captionOf[rows.indexOf(numbers(lose))]);
  }
});

test("real pairs leave out concepts without artwork, and mirror every second winner", () => {
  const samples = rand([2, 3, 64, 64], { generator: new Generator(6) });
  const input = { samples, captions: ["boat", "dragon"], real, captionOf };
  const pairs = realPairs(input, 40, random());
  expect(pairs.length).toBeGreaterThan(8);
  expect(pairs.length).toBeLessThan(32);
  const mirrored = scope(() => numbers(real.narrow(0, 2, 1).flip([3])));
  const winners = pairs.map(({ win }) => numbers(win));
  expect(new Set(pairs.map(({ caption }) => caption))).toEqual(new Set(["boat"]));
  expect(new Set(winners)).toEqual(new Set([rows[2], mirrored]));
});
