import fc from "fast-check";
import { expect, test } from "vitest";
import { promptsAt } from "./prompt-order.js";

const rounds = (count: number, perRound: number, number: number, seed = 0): number[] =>
  Array.from({ length: number }, (_, round) =>
    promptsAt(round, count, { seed, promptsPerRound: perRound }),
  ).flat();

test("each epoch has every prompt once, also where rounds end within it", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 20 }),
      fc.nat(99),
      (count, perRound, seed) => {
        const epochs = 3;
        const order = rounds(count, perRound, Math.ceil((epochs * count) / perRound), seed);
        for (let epoch = 0; epoch < epochs; epoch++) {
          const seen = order.slice(epoch * count, (epoch + 1) * count);
          expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, i) => i));
        }
      },
    ),
    { numRuns: 60 },
  );
});

test("every epoch has an order of its own, and so has every seed", () => {
  const count = 40;
  const epochs = [0, 1, 2].map((epoch) => rounds(count, count, 3).slice(epoch * count, (epoch + 1) * count));
  const other = rounds(count, count, 1, 1);
  const sorted = Array.from({ length: count }, (_, i) => i);
  const orders = [...epochs, other, sorted].map(String);
  expect(new Set(orders).size).toBe(5);
});

test("how many prompts a round has does not change their order", () => {
  expect(rounds(7, 3, 7)).toEqual(rounds(7, 1, 21));
  expect(rounds(7, 21, 1)).toEqual(rounds(7, 1, 21));
});
