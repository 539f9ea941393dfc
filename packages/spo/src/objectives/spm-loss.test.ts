import { scope, tensor } from "@spo/torch";
import fc from "fast-check";
import { expect, test } from "vitest";
import { labelTensors, pairAccuracy, relabel, spmLoss } from "./spm-loss.js";

const scores = fc.array(
  fc.tuple(fc.double({ min: -20, max: 20, noNaN: true }), fc.double({ min: -20, max: 20, noNaN: true })),
  { minLength: 1, maxLength: 6 },
);

test("a tie with equal scores has the loss 0, and no pair has less", () => {
  fc.assert(
    fc.property(scores, fc.constantFrom(0, 0.5, 1), (pairs, label) => {
      scope(() => {
        const score0 = tensor(pairs.map(([s]) => s));
        const labels = labelTensors(
          pairs.map(() => label),
          pairs.map(() => 1),
        );
        const { perSample } = spmLoss({ score0, score1: tensor(pairs.map(([, s]) => s)), ...labels });
        for (const l of perSample.toNumbers()) expect(l).toBeGreaterThan(-1e-6);
        const tied = spmLoss({
          score0,
          score1: score0,
          ...labelTensors(
            pairs.map(() => 0.5),
            pairs.map(() => 1),
          ),
        });
        expect(tied.loss.item()).toBeCloseTo(0, 6);
      });
    }),
  );
});

test("each prompt has the same weight, however many examples it has", () => {
  scope(() => {
    const examples = [1, 2, 2, 4, 4, 4, 4];
    const score = tensor(examples.map(() => 0));
    const { weight } = spmLoss({
      score0: score,
      score1: score,
      ...labelTensors(
        examples.map(() => 1),
        examples,
      ),
    });
    const of = (n: number): number =>
      weight.toNumbers().reduce((sum, w, i) => sum + (examples[i] === n ? w : 0), 0);
    for (const n of [1, 2, 4]) expect(of(n)).toBeCloseTo(1 / 3, 6);
  });
});

test("relabelling with the sides swapped swaps the labels", () => {
  fc.assert(
    fc.property(scores, fc.double({ min: 0, max: 0.9, noNaN: true }), (pairs, threshold) => {
      const [first, second] = [pairs.map(([s]) => s), pairs.map(([, s]) => s)];
      const there = relabel(first, second, threshold);
      const back = relabel(second, first, threshold);
      expect(back.label0).toEqual(there.label1);
      expect(back.label1).toEqual(there.label0);
    }),
  );
});

test("a tie of scores or labels counts one half of a right answer", () => {
  expect(pairAccuracy([2, 1, 3, 5], [1, 1, 9, 0], [1, 1, 1, 0.5])).toBe((1 + 0.5 + 0 + 0.5) / 4);
});

test("losses of parts of a batch add up to the batch's, with the weights of prompts over all of it", () => {
  const batch = [
    { scores: [3, 1], label: 1, examples: 1 },
    { scores: [0, 2], label: 0.5, examples: 8 },
    { scores: [1, 4], label: 0.2, examples: 2 },
    { scores: [2, 2], label: 0, examples: 8 },
    { scores: [5, 1], label: 0, examples: 3 },
  ];
  const lossOf = (part: typeof batch, inverseSum?: number): number =>
    scope(() =>
      spmLoss({
        score0: tensor(part.map(({ scores: [s] }) => s as number)),
        score1: tensor(part.map(({ scores: [, s] }) => s as number)),
        ...labelTensors(
          part.map(({ label }) => label),
          part.map(({ examples }) => examples),
        ),
        ...(inverseSum === undefined ? {} : { inverseSum: tensor(inverseSum) }),
      }).loss.item(),
    );
  const inverseSum = batch.reduce((sum, { examples }) => sum + 1 / examples, 0);
  const whole = lossOf(batch);
  const parts = lossOf(batch.slice(0, 2), inverseSum) + lossOf(batch.slice(2), inverseSum);
  expect(parts).toBeCloseTo(whole, 5);
  // Each part with weights of its own would be something else.
  expect(Math.abs(lossOf(batch.slice(0, 2)) + lossOf(batch.slice(2)) - whole)).toBeGreaterThan(0.1);
});
