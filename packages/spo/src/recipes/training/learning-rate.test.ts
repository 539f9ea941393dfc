import { expect, test } from "vitest";
import { learningRateAt } from "./learning-rate.js";

const rates = (
  decay: "constant" | "linear" | "cosine",
  positions: readonly number[],
  { warmup = 4, total = 12 } = {},
): number[] => positions.map((position) => learningRateAt(position, { lr: 8, warmup, decay, total }));

test("the rate rises from 0 in a line and has its value where the warm-up ends", () => {
  for (const decay of ["constant", "linear", "cosine"] as const)
    expect(rates(decay, [0, 1, 2, 2.5, 3, 4])).toEqual([0, 2, 4, 5, 6, 8]);
});

test("after the warm-up it stays, falls in a line, or along half a cosine", () => {
  expect(rates("constant", [5, 8, 12, 40])).toEqual([8, 8, 8, 8]);
  expect(rates("linear", [4, 6, 8, 10, 12, 40])).toEqual([8, 6, 4, 2, 0, 0]);
  const cosine = rates("cosine", [4, 6, 8, 10, 12]);
  for (const [i, expected] of [8, 4 + 4 * Math.SQRT1_2, 4, 4 - 4 * Math.SQRT1_2, 0].entries())
    expect(cosine[i]).toBeCloseTo(expected, 12);
});

test("without a warm-up it begins at its value, and a warm-up may be a part of one round", () => {
  expect(rates("constant", [0, 1], { warmup: 0 })).toEqual([8, 8]);
  expect(rates("linear", [0, 3], { warmup: 0, total: 6 })).toEqual([8, 4]);
  expect(rates("constant", [0.125, 0.25, 0.5], { warmup: 0.5 })).toEqual([2, 4, 8]);
});
