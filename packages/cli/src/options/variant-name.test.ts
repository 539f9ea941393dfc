import { expect, test } from "vitest";
import { variantName } from "./variant-name.js";

test("a variant is a part of file names and leads nowhere", () => {
  expect(["fp16", "non_ema", "a.b-c"].map(variantName)).toEqual(["fp16", "non_ema", "a.b-c"]);
  for (const text of ["", "..", "../x", "a/b", "a\\b", "a..b", "\u001b[2J"])
    expect(() => variantName(text), text).toThrow();
});
