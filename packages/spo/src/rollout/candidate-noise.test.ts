import { Generator, randn, scope, type Tensor } from "@spo/torch";
import fc from "fast-check";
import { expect, test } from "vitest";
import { withCommonDetail } from "./candidate-noise.js";

const noise = (seed: number, shape: readonly number[]): Tensor =>
  randn(shape, { generator: new Generator(seed) });

test("candidates differ by one number a block, and by the difference of their blocks' means", () => {
  fc.assert(
    fc.property(
      fc.record({
        seed: fc.nat(),
        block: fc.integer({ min: 1, max: 4 }),
        k: fc.integer({ min: 2, max: 4 }),
        rows: fc.integer({ min: 1, max: 3 }),
        columns: fc.integer({ min: 1, max: 3 }),
      }),
      ({ seed, block, k, rows, columns }) =>
        scope(() => {
          const own = noise(seed, [k, 2, 3, rows * block, columns * block]);
          const common = withCommonDetail(own, block);
          const blocks = [k - 1, 2, 3, rows, block, columns, block];
          const apart = (x: Tensor): Tensor =>
            x
              .narrow(0, 1, k - 1)
              .sub(x.narrow(0, 0, 1))
              .reshape(blocks);
          const spread = apart(common)
            .amax([4, 6])
            .sub(apart(common).amin([4, 6]))
            .max()
            .item();
          const means = apart(common)
            .mean([4, 6])
            .sub(apart(own).mean([4, 6]))
            .abs()
            .max()
            .item();
          expect(spread).toBeLessThan(1e-5);
          expect(means).toBeLessThan(1e-5);
        }),
    ),
    { numRuns: 30 },
  );
});

test("each candidate's noise is still standard normal and white", () => {
  scope(() => {
    const common = withCommonDetail(noise(3, [2, 2000, 1, 4, 4]), 2);
    for (const candidate of [0, 1]) {
      const x = common.select(0, candidate).reshape([2000, 16]);
      const covariance = x.transpose(0, 1).matmul(x).div(2000).toNumbers(); // standard error .03 on the diagonal
      for (const [i, value] of covariance.entries())
        expect(Math.abs(value - Number(i % 17 === 0))).toBeLessThan(0.15);
    }
  });
});

test("a block of one pixel leaves the noise alone", () => {
  scope(() => {
    const own = noise(1, [2, 1, 1, 2, 2]);
    expect(withCommonDetail(own, 1)).toBe(own);
  });
});
