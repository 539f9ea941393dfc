import { Generator, randn, scope } from "@spo/torch";
import fc from "fast-check";
import { expect, test } from "vitest";
import { boundX0, dynamicThreshold, thresholdX0 } from "./bound-x0.js";

const draw = (seed: number, scale = 1) => randn([2, 3, 4, 5], { generator: new Generator(seed) }).mul(scale);

test("a thresholded image lies in [−1, 1], keeps its signs, and is left alone where it lay there", () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.double({ min: 1, max: 9, noNaN: true }),
      fc.nat(),
      (ratio, max, seed) =>
        scope(() => {
          const x0 = draw(seed, 3);
          const found = dynamicThreshold(x0, { ratio, max });
          expect(found.abs().max().item()).toBeLessThanOrEqual(1);
          expect(found.sign().toNumbers()).toEqual(x0.sign().toNumbers());
          const small = x0.div(x0.abs().max());
          expect(dynamicThreshold(small, { ratio, max }).toNumbers()).toEqual(small.toNumbers());
        }),
    ),
    { numRuns: 30 },
  );
});

test("each image has its own threshold", () => {
  scope(() => {
    const x0 = draw(1, 3);
    const settings = { ratio: 0.9, max: 9 };
    const first = dynamicThreshold(x0.narrow(0, 0, 1), settings);
    expect(dynamicThreshold(x0, settings).narrow(0, 0, 1).toNumbers()).toEqual(first.toNumbers());
  });
});

test("clip_sample clamps for the samplers that know it, and thresholding comes before it", () => {
  scope(() => {
    const x0 = draw(2, 3);
    const clipping = { clip_sample: true, clip_sample_range: 0.5 };
    expect(boundX0(x0, clipping).toNumbers()).toEqual(x0.clamp(-0.5, 0.5).toNumbers());
    expect(thresholdX0(x0, clipping)).toBe(x0);
    const both = { ...clipping, thresholding: true };
    expect(boundX0(x0, both).toNumbers()).toEqual(dynamicThreshold(x0, { ratio: 0.995, max: 1 }).toNumbers());
  });
});
