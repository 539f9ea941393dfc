import fc from "fast-check";
import { expect, test } from "vitest";
import { microBatches, partsOfProcess, positionsOfProcess } from "./micro-batches.js";

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

test("several processes compute each sample of a batch once, and read its position", () => {
  const sizes = [60, 70, 5].map((max) => fc.integer({ min: 1, max }));
  fc.assert(
    fc.property(
      ...(sizes as [fc.Arbitrary<number>, fc.Arbitrary<number>, fc.Arbitrary<number>]),
      fc.boolean(),
      (batch, microBatch, size, exact) => {
        const sharers = Array.from({ length: size }, (_, rank) => ({ size, rank, exact }));
        const found = sharers.flatMap((sharer) => {
          const parts = partsOfProcess(batch, microBatch, sharer).flatMap((part) => part ?? []);
          const samples = parts.flatMap(({ start, size: n }) =>
            Array.from({ length: n }, (_, i) => start + i),
          );
          const { processes, isMine } = positionsOfProcess(batch, microBatch, sharer);
          const read = Array.from({ length: batch }, (_, i) => 3 * batch + i).filter(isMine);
          expect(read.map((position) => position - 3 * batch)).toEqual(samples);
          expect(processes).toBe(size);
          return samples;
        });
        expect(found.sort((a, b) => a - b)).toEqual(Array.from({ length: batch }, (_, i) => i));
      },
    ),
  );
});
