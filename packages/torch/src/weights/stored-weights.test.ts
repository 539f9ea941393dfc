import { describe, expect, test } from "vitest";
import { notFinite, requireStorable, scope, storedWeights, tensor, UserError } from "../index.js";

const fault = (fn: () => unknown): UserError => {
  try {
    scope(() => void fn());
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    return error as UserError;
  }
  throw new Error("nothing was thrown");
};
const weights = (more: Record<string, number>) =>
  new Map(Object.entries({ fine: 1, ...more }).map(([name, value]) => [name, tensor([0.5, value])]));

describe("weights that are written", () => {
  for (const check of [storedWeights, requireStorable]) {
    test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
      `with %f are refused by name, whatever the type (${check.name})`,
      (value) => {
        for (const dtype of [undefined, "float32", "bfloat16", "float16"] as const) {
          const { message, code } = fault(() =>
            check(weights({ "a.b": value }), { dtype, place: "x.safetensors" }),
          );
          expect(message).toBe("x.safetensors is not written: a weight has NaN or infinity: a.b.");
          expect(code).toBe("NUMERIC");
        }
      },
    );

    test(`too large for float16 are refused with the type that holds them (${check.name})`, () => {
      const large = { a: 1e6, b: -65520, c: 65504, d: 7e4, e: 7e4, f: 7e4, g: 7e4 };
      const { message, hint } = fault(() => check(weights(large), { dtype: "float16", place: "x" }));
      expect(message).toBe(
        "x is not written: 6 weights have numbers too large for float16: a, b, d, e, f, and 1 more.",
      );
      expect(hint).toMatch(/--dtype bfloat16/);
      for (const dtype of ["bfloat16", "float32", undefined] as const)
        scope(() => void check(weights(large), { dtype, place: "x" }));
    });
  }

  test("keep their numbers, in the type that is asked for", () => {
    scope(() => {
      const whole = tensor([7], { dtype: "int64" });
      const stored = storedWeights(new Map([...weights({ a: 3 }), ["count", whole]]), {
        dtype: "float16",
        place: "x",
      });
      expect([...stored].map(([name, x]) => [name, x.dtype, [...x.toNumbers()].map(Number)])).toEqual([
        ["fine", "float16", [0.5, 1]],
        ["a", "float16", [0.5, 3]],
        ["count", "int64", [7]],
      ]);
      for (const x of stored.values()) x.dispose();
      expect(whole.isDisposed).toBe(false);
      const same = weights({});
      expect(storedWeights(same, { place: "x" })).toEqual(same);
    });
  });

  test("that are whole numbers are finite", () => {
    scope(() => expect(notFinite([["a", tensor([1], { dtype: "int64" })]])).toEqual([]));
  });
});
