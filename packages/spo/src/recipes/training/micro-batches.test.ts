import fc from "fast-check";
import { expect, test } from "vitest";
import { microBatches } from "./micro-batches.js";

test("the parts of a batch have each sample once, in order, and shares in proportion to their sizes", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 70 }), (batch, microBatch) => {
      const parts = microBatches(batch, microBatch);
      const samples = parts.flatMap(({ start, size }) => Array.from({ length: size }, (_, i) => start + i));
      expect(samples).toEqual(Array.from({ length: batch }, (_, i) => i));
      for (const { size, share } of parts) {
        expect(size).toBeGreaterThan(0);
        expect(size).toBeLessThanOrEqual(microBatch);
        expect(share * batch).toBeCloseTo(size, 9);
      }
    }),
  );
});

test("means of the parts, each times its share, add up to the mean of all", () => {
  const losses = [3, 1, 4, 1, 5];
  const mean = (of: readonly number[]): number => of.reduce((a, b) => a + b, 0) / of.length;
  const parts = microBatches(losses.length, 2).map(
    ({ start, size, share }) => share * mean(losses.slice(start, start + size)),
  );
  expect(parts.reduce((a, b) => a + b, 0)).toBeCloseTo(14 / 5, 12);
  expect(parts).toHaveLength(3);
});
