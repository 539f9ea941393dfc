import { full, scope, type Tensor, tensor } from "@spo/torch";
import { expect, test } from "vitest";
import { imageStatistics, pixelDiversity } from "./image-drift.js";

/** One image of 3×3 pixels, each channel's values from −1 to 1. */
const image = (red: number[], green: number[], blue: number[]): Tensor =>
  tensor([...red, ...green, ...blue], { shape: [1, 3, 3, 3], dtype: "float32" });

test("a flat colour is saturated, without contrast and without detail; values beyond the range are cut off", () => {
  scope(() => {
    const flat = (value: number): number[] => Array(9).fill(value);
    const { saturation, contrast, highFrequency } = imageStatistics(image(flat(3), flat(0), flat(-1)));
    expect(saturation).toBeCloseTo(1, 6);
    expect(contrast).toBeCloseTo(0, 6);
    expect(highFrequency).toBeCloseTo(0, 6);
  });
});

test("a white pixel on black has the contrast of one in nine, and all of its detail in the middle", () => {
  scope(() => {
    const dot = [-1, -1, -1, -1, 1, -1, -1, -1, -1];
    const { saturation, contrast, highFrequency } = imageStatistics(image(dot, dot, dot));
    expect(saturation).toBe(0);
    expect(contrast).toBeCloseTo(Math.sqrt(1 / 9 - 1 / 81), 5);
    expect(highFrequency).toBeCloseTo(1, 5); // the one inner pixel, its neighbours black
  });
});

test("the diversity is the mean distance of a prompt's samples from one another", () => {
  scope(() => {
    const seeds = [0, 0.5, -1].map((value) => full([2, 3, 4, 4], value));
    expect(pixelDiversity(seeds)).toBeCloseTo((0.5 + 1 + 1.5) / 3, 6);
  });
});
