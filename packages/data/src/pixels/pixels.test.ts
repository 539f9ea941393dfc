import { full, scope, tensor } from "@spo/torch";
import { expect, test } from "vitest";
import { quantised, rgbFromPixels } from "./pixels.js";

test("pixels become the bytes that diffusers rounds them to, and values beyond the range are clamped", () => {
  // (x/2 + 0.5)·255, half to even: 127.5 → 128.
  const { data, width, height } = scope(() =>
    rgbFromPixels(tensor([-1, 1, 0, -3, 7, 0.5], { shape: [3, 1, 2] })),
  );
  expect([width, height]).toEqual([2, 1]);
  expect([...data]).toEqual([0, 128, 255, 255, 0, 191]);
});

test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
  "%s never becomes a byte: neither black nor white",
  (value) => {
    const pixels = full([1, 3, 2, 2], 0.25);
    pixels.select(0, 0).select(0, 1).select(0, 1).fill_(value);
    const refused = expect.objectContaining({
      code: "NUMERIC",
      message: expect.stringMatching(/the third sample is not finite: 2 of 12 values/),
    });
    expect(() => rgbFromPixels(pixels, "the third sample")).toThrow(refused);
    expect(() => quantised(pixels)).toThrow(expect.objectContaining({ code: "NUMERIC" }));
  },
);
