import { noGrad, scope, tensor, type UserError } from "@spo/torch";
import { expect, test } from "vitest";
import { tinyPipeline } from "../families/tiny-pipeline.fixture.js";
import { requireFinite } from "./finite-images.js";

const nameOf = (place: number): string => `number ${place}`;

/** What `requireFinite` says of two images, the second of which holds `value`. */
function told(
  value: number,
  pipe = tinyPipeline("sd15"),
): Pick<UserError, "code" | "message" | "hint"> | undefined {
  return scope(() => {
    const pixels = tensor([0, 0, 0, 0, value, 0], { shape: [2, 3, 1, 1] });
    try {
      requireFinite(pixels, pipe, nameOf);
    } catch (error) {
      return error as UserError;
    }
    return undefined;
  });
}

test("finite images pass, whatever their weights", () => {
  expect(told(-3)).toBeUndefined();
});

test.each([Number.NaN, Number.POSITIVE_INFINITY])("%d is told, and that the weights are sound", (value) => {
  expect(told(value)).toMatchObject({
    code: "NUMERIC",
    message: expect.stringContaining(
      "An image is not finite, the first number 1: the computation overflowed",
    ),
    hint: expect.stringContaining("float16"),
  });
});

test("the weights that hold NaN are named", () => {
  const pipe = tinyPipeline("sd15");
  noGrad(() => pipe.denoiser.conv_in.weight.fill_(Number.NaN));
  expect(told(Number.NaN, pipe)?.message).toMatch(
    /These weights hold NaN or infinity:\n {2}unet {2}conv_in\.weight$/,
  );
});
