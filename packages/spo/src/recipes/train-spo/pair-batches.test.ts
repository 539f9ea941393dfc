import { Generator } from "@spo/torch";
import { expect, test } from "vitest";
import { pairBatches } from "./pair-batches.js";

test("a round's updates have every pair once, and only the last has fewer", () => {
  const batches = pairBatches(23, 5, new Generator(1));
  expect(batches.map(({ length }) => length)).toEqual([5, 5, 5, 5, 3]);
  expect(batches.flat().sort((a, b) => a - b)).toEqual(Array.from({ length: 23 }, (_, i) => i));
});

test("the order is drawn: pairs of one comparison do not stay together", () => {
  const [one, other] = [1, 2].map((seed) => pairBatches(64, 64, new Generator(seed)).flat());
  expect(one).not.toEqual(other);
  expect(one).not.toEqual(Array.from({ length: 64 }, (_, i) => i));
});

test("a round without a pair has no update", () => {
  expect(pairBatches(0, 5, new Generator(1))).toEqual([]);
});
