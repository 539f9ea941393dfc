import { expect, test } from "vitest";
import { compare } from "../../rollout/compare.js";
import type { StepComparison } from "../../rollout/transitions.js";
import { PairWatch, summarise } from "./pair-watch.js";

const comparison = (scores: number[][], threshold = 0.3): StepComparison => ({
  ...compare(scores, threshold),
  timestep: 301,
  scores,
});
const settings = { threshold: 0.3, candidates: 2 };

test("a round without a pair is told of with the spread, the largest gap and a threshold that would do", () => {
  const watch = new PairWatch(settings);
  const round = [comparison([[0.1], [0]]), comparison([[0], [0.2]])];
  const [told, ...more] = watch.see(round);
  expect(more).toEqual([]);
  expect(told).toContain("no pair above the threshold 0.3 in this round");
  expect(told).toContain("spread by 0.075");
  expect(told).toContain("largest preference gap was 0.1");
  expect(told).toContain("A threshold of 0.05");
});

test("rounds without a pair are told of ever more seldom, and from the beginning after one with a pair", () => {
  const watch = new PairWatch(settings);
  const empty = [comparison([[0.1], [0]])];
  const told = Array.from({ length: 12 }, () => watch.see(empty).length);
  expect(told).toEqual([1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
  watch.see([comparison([[5], [0]])]);
  expect(watch.see(empty)[0]).toContain("this round");
});

test("a judge that gives all candidates one score is told that it cannot tell them apart", () => {
  expect(new PairWatch(settings).see([comparison([[1], [1]])])[0]).toContain("cannot tell them apart");
});

test("ten timesteps in a row without one finite score end a training, across rounds, and one that has some begins the count anew", () => {
  const watch = new PairWatch(settings);
  const silent = comparison([
    [Number.NaN, 1],
    [0, Number.POSITIVE_INFINITY],
  ]);
  const half = comparison([
    [Number.NaN, 1],
    [0, 0],
  ]);
  expect(watch.see([silent, silent])[0]).toContain("in 4 of 4 comparisons, at timestep 301 first");
  for (let i = 0; i < 7; i++) watch.see([silent]);
  watch.see([half, silent]);
  for (let i = 0; i < 4; i++) watch.see([silent, silent]);
  watch.requireScores("round 13");
  watch.see([silent, half]);
  expect(() => watch.requireScores("round 14")).toThrow(
    expect.objectContaining({ code: "NUMERIC", message: expect.stringMatching(/10 judged .* round 14/) }),
  );
});

test("what is not finite has no part in the figures of a timestep", () => {
  const scores = [
    [Number.NaN, 3],
    [0, 1],
  ];
  expect(summarise([comparison(scores)])).toEqual([
    { timestep: 301, pairs: 2, valid: 1, margin: Math.tanh(1), spread: 1, notFinite: 1 },
  ]);
  const none = summarise([comparison([[Number.NaN], [0]])]);
  expect(none).toMatchObject([{ margin: null, spread: null, notFinite: 1 }]);
});
