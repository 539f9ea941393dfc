import { expect, test } from "vitest";
import { agreement, withDoubt } from "./agreement.js";

// Two candidates of three prompts; candidate 0 wins, 1 loses.
const comparison = {
  win: [0, 0, 0],
  lose: [1, 1, 1],
  margin: [0.5, 0.5, 0.1],
  valid: [true, true, false],
  finite: [true, true, true],
};
const byJudge = [
  [[3, 3, 1], [1, 1, 5]], // biome-ignore format: [k][B]
  [[1, 2, 1], [1, 4, 5]], // biome-ignore format: [k][B]
];

test("judges agree with a pair unless they find its loser better; one that sees no difference does not object", () => {
  expect(agreement(byJudge, comparison)).toEqual([1, 0.5, 0]);
});

test("pairs with too little agreement are none, and are told apart from those that were none anyway", () => {
  expect(withDoubt(comparison, byJudge, 0.6)).toEqual({
    ...comparison,
    valid: [true, false, false],
    doubtful: [false, true, false],
  });
  expect(withDoubt(comparison, byJudge, 0.5).valid).toEqual(comparison.valid);
  expect(withDoubt(comparison, undefined, 1)).toBe(comparison);
});
