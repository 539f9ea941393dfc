import { expect, test } from "vitest";
import { bradleyTerry, bradleyTerryIntervals, type Match } from "./index.js";

/** wins of a, wins of b, ties */
const matches = (table: readonly (readonly [number, number, number, number, number])[]): Match[] =>
  table.flatMap(([a, b, ...counts]) =>
    counts.flatMap((n, i) =>
      Array.from({ length: n }, (): Match => ({ a, b, share: [1, 0, 0.5][i] as number })),
    ),
  );

test("strengths with ties are those of the largest likelihood, as a general optimiser finds them", () => {
  const found = bradleyTerry(
    matches([
      [0, 1, 7, 2, 3],
      [0, 2, 9, 1, 2],
      [1, 2, 5, 4, 6],
    ]),
    3,
  );
  // Davidson's likelihood with half a win more on each side, by Nelder–Mead in double precision.
  for (const [i, value] of [1.06011016, -0.35717999, -0.70293017].entries())
    expect(found[i]).toBeCloseTo(value, 6);
});

test("of two models without ties the strength is the logarithm of the odds", () => {
  const [one, other] = bradleyTerry(matches([[0, 1, 30, 10, 0]]), 2) as [number, number];
  expect(one - other).toBeCloseTo(Math.log(30.5 / 10.5), 6);
});

test("who won all is finitely strong, and who was never compared stands at the mean", () => {
  const [one, other, never] = bradleyTerry(matches([[0, 1, 5, 0, 0]]), 3) as [number, number, number];
  expect(one).toBeCloseTo(Math.log(11) / 2, 6);
  expect(other).toBeCloseTo(-one, 9);
  expect(never).toBeCloseTo(0, 9);
});

test("intervals hold the estimate, and a real difference leaves zero out", () => {
  const votes = matches([
    [0, 1, 60, 20, 10],
    [1, 2, 30, 30, 10],
    [0, 2, 55, 20, 10],
  ]);
  const groups = votes.map((_, i) => String(i % 40));
  const found = bradleyTerryIntervals(votes, 3, groups);
  expect(found.map(({ value }) => value)).toEqual(bradleyTerry(votes, 3));
  for (const { value, low, high } of found) expect(low < value && value < high).toBe(true);
  expect(found[0]?.low).toBeGreaterThan(0);
  expect((found[1]?.low as number) < (found[2]?.high as number)).toBe(true);
});
