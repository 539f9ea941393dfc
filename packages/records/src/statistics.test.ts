import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bootstrap, bootstrapMean, mean, signTest, winRate } from "./statistics.js";

describe("a bootstrap interval", () => {
  test("holds the estimate and is the same each time", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: -5, max: 5, noNaN: true }), { minLength: 2, maxLength: 30 }),
        (values) => {
          const estimate = bootstrapMean(values, { resamples: 200 });
          expect(estimate.value).toBeCloseTo(mean(values), 10);
          expect(estimate.low).toBeLessThanOrEqual(estimate.high);
          expect(bootstrapMean(values, { resamples: 200 })).toEqual(estimate);
        },
      ),
      { numRuns: 50 },
    );
  });

  test("is as wide as the normal one for many values", () => {
    const values = Array.from({ length: 400 }, (_, i) => Math.sin(i * 12.9898) * 3);
    const spread = Math.sqrt(mean(values.map((v) => (v - mean(values)) ** 2)));
    const { low, high } = bootstrapMean(values, { resamples: 2000 });
    expect(high - low).toBeGreaterThan(0.85 * 2 * 1.96 * (spread / 20));
    expect(high - low).toBeLessThan(1.15 * 2 * 1.96 * (spread / 20));
  });

  test("is wider when values of a group belong together", () => {
    const groups = Array.from({ length: 100 }, (_, i) => Math.floor(i / 20));
    const values = groups.map((group) => group);
    const width = (options: object): number => {
      const { low, high } = bootstrapMean(values, options);
      return high - low;
    };
    expect(width({ groups })).toBeGreaterThan(2 * width({}));
  });

  test("draws rows of its range only", () => {
    bootstrap(
      7,
      (rows) => {
        for (const row of rows) expect(row >= 0 && row < 7).toBe(true);
        return rows.length;
      },
      { resamples: 50 },
    );
  });
});

test("a win rate counts a tie one half, and swapping the sides gives the rest", () => {
  expect(winRate([1, 1, 1, 1], [2, 1, 0, 2]).value).toBe((1 + 0.5 + 0 + 1) / 4);
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer(), fc.integer()), { minLength: 1, maxLength: 20 }), (pairs) => {
      const [a, b] = [pairs.map(([x]) => x), pairs.map(([, y]) => y)];
      expect(winRate(a, b, { resamples: 10 }).value + winRate(b, a, { resamples: 10 }).value).toBeCloseTo(
        1,
        12,
      );
    }),
  );
  expect(() => winRate([1], [1, 2])).toThrow(/no pairs/);
});

test("the sign test gives the binomial's exact two-sided p", () => {
  const wins = (won: number, lost: number): number =>
    signTest(
      [...Array(won).fill(0), ...Array(lost).fill(1), 5],
      [...Array(won).fill(1), ...Array(lost).fill(0), 5],
    );
  expect(wins(8, 2)).toBeCloseTo(0.109375, 10); // 2·(45 + 10 + 1)/1024
  expect(wins(10, 0)).toBeCloseTo(2 / 1024, 10);
  expect(wins(5, 5)).toBe(1);
  expect(signTest([1, 2], [1, 2])).toBe(1);
  expect(wins(900, 100)).toBeLessThan(1e-100);
});
