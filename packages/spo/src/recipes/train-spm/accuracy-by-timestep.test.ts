import { expect, test } from "vitest";
import { AccuracyByTimestep } from "./accuracy-by-timestep.js";

const parts = [
  { score0: [3, 1], score1: [1, 2], label0: [1, 1] }, // right, wrong
  { score0: [0, 5, 4], score1: [1, 5, 2], label0: [0, 1, 0.5] }, // right, equal scores, a tie
];

test("the share of right pairs counts all parts alike, with one half for equal scores and for ties", () => {
  const found = new AccuracyByTimestep([0, 501], { withoutTies: false });
  for (const part of parts) found.add(501, part);
  found.add(0, parts[0] as (typeof parts)[0]);
  expect(found.metrics()).toEqual({ "accuracy/t=0": 1 / 2, "accuracy/t=501": (1 + 0 + 1 + 0.5 + 0.5) / 5 });
});

test("without ties they are left out, and a timestep of none but ties has no accuracy", () => {
  const found = new AccuracyByTimestep([0, 501], { withoutTies: true });
  for (const part of parts) found.add(501, part);
  found.add(0, { score0: [1], score1: [0], label0: [0.5] });
  expect(found.metrics()).toEqual({ "accuracy/t=501": (1 + 0 + 1 + 0.5) / 4, "accuracy/t=0": Number.NaN });
});

test("a timestep that was not announced is refused", () => {
  const found = new AccuracyByTimestep([0], { withoutTies: false });
  expect(() => found.add(501, parts[0] as (typeof parts)[0])).toThrow(RangeError);
});
