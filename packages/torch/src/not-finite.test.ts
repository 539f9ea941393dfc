import { expect, test } from "vitest";
import { onMeta, tensor, zeros } from "./index.js";
import { notFiniteAt } from "./not-finite.js";

test.each(["float32", "float16", "bfloat16"] as const)(
  "NaN and both infinities are found in %s, and nothing else",
  (dtype) => {
    const x = tensor([
      0,
      -0,
      1,
      -2.5,
      60000,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
    ]).to({ dtype });
    expect(notFiniteAt(x).toNumbers()).toEqual([0, 0, 0, 0, 0, 1, 1, 1]);
  },
);

test("a device without numbers can be asked too", () => {
  using _ = onMeta();
  expect(notFiniteAt(zeros([2, 3], { device: "meta" })).shape).toEqual([2, 3]);
});
