import { expect, test } from "vitest";
import { diverseOnes, type GuardMeasurement, heldOutVerdict } from "./held-out-verdict.js";

const history = (...pairs: readonly [training: number, heldOut: number][]): GuardMeasurement[] =>
  pairs.map(([training, heldOut], step) => ({ step, training, heldOut, diversity: Number.NaN }));
const rising = history([0, 0], [1, 2], [2, 1], [3, 1.9], [4, 0]);

test("a judge is exploited when its score rises and the held-out one is below its best for so many measurements", () => {
  expect(heldOutVerdict(rising, 3)).toMatchObject({
    best: { step: 1, training: 1, heldOut: 2 },
    since: 3,
    isExploited: true,
  });
  expect(heldOutVerdict(rising, 4)?.isExploited).toBe(false);
  expect(heldOutVerdict(rising.slice(0, 4), 3)?.isExploited).toBe(false);
});

test("it is not while both rise, nor where both fall", () => {
  expect(heldOutVerdict(history([0, 0], [1, 1], [2, 2]), 1)).toMatchObject({ since: 0, isExploited: false });
  expect(heldOutVerdict(history([1, 0], [0, -1], [-1, -2], [-2, -3]), 2)).toMatchObject({
    best: { step: 0 },
    isExploited: false,
  });
});

test("of equal bests the first counts, and what is not finite does not", () => {
  expect(heldOutVerdict(history([0, 5], [1, 5], [2, 5]), 2)).toMatchObject({ since: 2, isExploited: true });
  const gaps = history([0, 5], [Number.NaN, 9], [1, Number.NaN], [1, 4]);
  expect(heldOutVerdict(gaps, 1)).toMatchObject({ best: { step: 0 }, since: 1, isExploited: true });
  expect(heldOutVerdict(history([Number.NaN, 1]), 1)).toBeUndefined();
});

test("diverse enough are those of a share of the first's diversity, and those where it is not known", () => {
  const told = [0.4, 0.37, 0.35, Number.NaN, 0.41].map((diversity, step) => ({
    ...{ step, training: 0, heldOut: 0, diversity },
  }));
  const steps = (share: number): number[] => diverseOnes(told, share).map(({ step }) => step);
  expect(steps(0.9)).toEqual([0, 1, 3, 4]);
  expect(steps(1)).toEqual([0, 3, 4]);
  expect(diverseOnes([], 0.9)).toEqual([]);
});
