import { Generator, randn, scope, type Tensor, tensor } from "@spo/torch";
import fc from "fast-check";
import { expect, test } from "vitest";
import { centreCrop, clipProcessor, resizeShortSide, scorePixels, trainPixels } from "./preprocess.js";

const image = (height: number, width: number): Tensor =>
  randn([1, 3, height, width], { generator: new Generator(1) });
const side = fc.integer({ min: 8, max: 40 });

test("any image becomes a square of the scorer's size, on both paths", () => {
  fc.assert(
    fc.property(side, side, (height, width) => {
      scope(() => {
        const processor = clipProcessor(12);
        expect(scorePixels(image(height, width), processor).shape).toEqual([1, 3, 12, 12]);
        expect(trainPixels(image(height, width), processor).shape).toEqual([1, 3, 12, 12]);
      });
    }),
    { numRuns: 40 },
  );
});

test("the short side becomes the size asked for and the aspect is kept to a pixel", () => {
  fc.assert(
    fc.property(side, side, (height, width) => {
      scope(() => {
        const [, , h, w] = resizeShortSide(image(height, width), 16).shape as [
          number,
          number,
          number,
          number,
        ];
        expect(Math.min(h, w)).toBe(16);
        expect(Math.abs(h / w - height / width)).toBeLessThan((height / width) * 0.1);
      });
    }),
    { numRuns: 40 },
  );
});

test("an odd rest is cut with halves to the even pixel, as Python rounds", () => {
  scope(() => {
    const columns = tensor([0, 1, 2, 3, 4, 5, 6], { shape: [1, 1, 1, 7] }).expand([1, 1, 4, 7]);
    expect(centreCrop(columns, 4).select(2, 0).toNumbers()).toEqual([2, 3, 4, 5]); // (7 − 4)/2 = 1.5 → 2
    const six = tensor([0, 1, 2, 3, 4], { shape: [1, 1, 1, 5] }).expand([1, 1, 4, 5]);
    expect(centreCrop(six, 4).select(2, 0).toNumbers()).toEqual([0, 1, 2, 3]); // 0.5 → 0
  });
});

test("white and black beyond the range are clamped before they are normalised", () => {
  scope(() => {
    const processor = { size: 4, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] };
    const bright = tensor(Array(3 * 16).fill(3), { shape: [1, 3, 4, 4] });
    expect(new Set(scorePixels(bright, processor).toNumbers())).toEqual(new Set([1]));
    expect(new Set(trainPixels(bright.neg(), processor).toNumbers())).toEqual(new Set([-1]));
  });
});
