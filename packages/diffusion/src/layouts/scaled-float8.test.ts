import { ones, scope, tensor } from "@spo/torch";
import { expect, test } from "vitest";
import { scaledFloat8 } from "./scaled-float8.js";

test("each weight is multiplied by its scale, of one number or one a row, and the quantization's entries go", () => {
  scope(() => {
    const scaled = scaledFloat8(
      new Map([
        ["a.weight", tensor([[1, 2]], { dtype: "bfloat16" })],
        ["a.bias", tensor([5])],
        ["a.scale_weight", tensor(0.5)],
        ["a.scale_input", tensor(9)],
        [
          "b.weight",
          tensor([
            [1, 2],
            [3, 4],
          ]),
        ],
        ["b.weight_scale", tensor([10, 100])],
        ["c.weight", tensor([[7]])],
        ["scaled_fp8", ones([0])],
      ]),
    );
    const found = [...scaled].map(([name, x]) => [name, x.dtype, [...x.toNumbers()]]);
    expect(found).toEqual([
      ["a.weight", "float32", [0.5, 1]],
      ["a.bias", "float32", [5]],
      ["b.weight", "float32", [10, 20, 300, 400]],
      ["c.weight", "float32", [7]],
    ]);
  });
});

test("weights without scales are the same tensors", () => {
  scope(() => {
    const weights = new Map([["a.weight", tensor([1])]]);
    expect(scaledFloat8(weights)).toBe(weights);
  });
});
