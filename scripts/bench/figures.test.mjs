// @ts-check
import { expect, test } from "vitest";
import { difference, spread, summarise } from "./figures.mjs";

const turns = (/** @type {number[]} */ ...cpu) => cpu.map((seconds) => ({ cpu: seconds, wall: 2 * seconds }));
const side = (/** @type {number[]} */ seconds, /** @type {number[]} */ result = [], peak = 100) => ({
  turns: turns(...seconds),
  result,
  facts: {},
  peak,
});
const work = { times: 1, units: 1 };
const one = { name: "one", shapes: "[1]", run: () => {} };

test("the middle of an even number of turns is the mean of the two middle ones", () => {
  expect(spread([4, 1, 3, 2])).toEqual({ min: 1, median: 2.5, max: 4 });
});

test("results of different lengths, or with NaN, never agree", () => {
  expect(difference([1, 2], [1])).toBe(Number.POSITIVE_INFINITY);
  expect(difference([1, Number.NaN], [1, 2])).toBe(Number.POSITIVE_INFINITY);
  expect(difference([1, 4], [1, 3])).toBe(0.25);
});

test("a target is judged by the least seconds of both sides", () => {
  const target = /** @type {const} */ ({ of: "cpu", ratio: 0.5 });
  const ours = side([3, 1, 9]);
  expect(summarise({ ...one, target }, work, ours, side([2, 8, 2]))).toMatchObject({ met: true });
  expect(summarise({ ...one, target }, work, ours, side([1.9, 8, 2]))).toMatchObject({ met: false });
});

test("different results are reported, and nothing is compared where neither side gives any", () => {
  expect(summarise(one, work, side([1], [1, 2]), side([1], [1, 2.1]))).toMatchObject({ agrees: false });
  expect(summarise(one, work, side([1]), side([1]))).not.toHaveProperty("agrees");
});
