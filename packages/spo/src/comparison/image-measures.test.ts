import { cat, ones, scope, zeros } from "@spo/torch";
import { describe, expect, test } from "vitest";
import { MeasuredImages } from "./image-measures.js";

describe("measures of finished images", () => {
  test("an image's distance to the others of its prompt, in whichever chunk they came", () => {
    const measured = new MeasuredImages();
    scope(() => {
      const [grey, white] = [zeros([1, 3, 128, 128]), ones([1, 3, 128, 128])];
      measured.add(cat([grey, white, white]), ["fox", "fox", "owl"]);
      measured.add(cat([grey, white.mul(0.5)]), ["fox", "owl"]);
    });
    // fox: 0, 1, 0 → of the first (1 + 0)/2, of the second (1 + 1)/2; owl: 1 and 0.5.
    expect(measured.take().map(({ diversity }) => diversity)).toEqual([0.5, 1, 0.5, 0.5, 0.5]);
  });

  test("colour and contrast of each image by itself; one image of a prompt has no diversity", () => {
    const measured = new MeasuredImages();
    scope(() => {
      const red = cat([ones([1, 1, 8, 8]), ones([1, 2, 8, 8]).neg()], 1);
      measured.add(cat([red, zeros([1, 3, 8, 8])]), ["fox", "owl"]);
    });
    expect(measured.take()).toEqual([
      { diversity: 0, saturation: 1, contrast: 0, highFrequency: 0 },
      { diversity: 0, saturation: 0, contrast: 0, highFrequency: 0 },
    ]);
  });
});
