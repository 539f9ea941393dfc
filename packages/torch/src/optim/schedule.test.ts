import * as fc from "fast-check";
import { expect, test } from "vitest";
import { warmupConstant, warmupCosine, warmupLinear } from "../index.js";

const settings = fc
  .record({ warmup: fc.nat(50), after: fc.integer({ min: 1, max: 100 }) })
  .map(({ warmup, after }) => ({ warmup, total: warmup + after }));

test("every schedule rises in a line from 0 to 1 over the warm-up", () => {
  fc.assert(
    fc.property(settings, ({ warmup, total }) => {
      for (let step = 0; step < warmup; step++)
        for (const factor of [
          warmupConstant(step, { warmup }),
          warmupLinear(step, { warmup, total }),
          warmupCosine(step, { warmup, total }),
        ])
          expect(factor).toBeCloseTo(step / warmup, 12);
      expect([
        warmupConstant(warmup, { warmup }),
        warmupLinear(warmup, { warmup, total }),
        warmupCosine(warmup, { warmup, total }),
      ]).toEqual([1, 1, 1]);
    }),
  );
});

test("after the warm-up one stays at 1, one falls in a line to 0, one along half a cosine, and none below 0", () => {
  fc.assert(
    fc.property(settings, fc.double({ min: 0, max: 2, noNaN: true }), ({ warmup, total }, share) => {
      const step = warmup + share * (total - warmup);
      const left = Math.max(0, 1 - share);
      expect(warmupConstant(step, { warmup })).toBe(1);
      expect(warmupLinear(step, { warmup, total })).toBeCloseTo(left, 9);
      expect(warmupCosine(step, { warmup, total })).toBeCloseTo((1 - Math.cos(Math.PI * left)) / 2, 9);
    }),
  );
});

test("a run that is all warm-up does not divide by zero", () => {
  for (const step of [0, 1, 2]) {
    expect(warmupLinear(step, { warmup: 0, total: 0 })).toBe(0);
    expect(warmupCosine(step, { warmup: 0, total: 0 })).not.toBeNaN();
  }
});
