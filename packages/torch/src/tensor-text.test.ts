import { inspect } from "node:util";
import { native } from "@spo/native";
import { describe, expect, test } from "vitest";
import { wrap } from "./handle.js";
import { arange, scope, tensor, zeros } from "./index.js";

const inScope = (name: string, work: () => void): void => test(name, () => scope(work));

describe("a tensor as text", () => {
  inScope("has shape, dtype, device and values, in strings, templates and console.log alike", () => {
    const x = tensor([
      [1, -2.5],
      [1 / 3, 1e-7],
    ]);
    const text = "Tensor [2, 2] float32 cpu\n[[      1,    -2.5],\n [0.33333,    1e-7]]";
    expect([String(x), `${x}`, inspect(x)]).toEqual([text, text, text]);
    expect(String(tensor([1, 2, 3], { dtype: "int64" }))).toBe("Tensor [3] int64 cpu [1, 2, 3]");
    expect(String(tensor(7))).toBe("Tensor [] float32 cpu 7");
    expect(String(zeros([2, 0]))).toBe("Tensor [2, 0] float32 cpu\n[[],\n []]");
    expect(String(zeros([1, 1, 2], { dtype: "float16" }))).toBe("Tensor [1, 1, 2] float16 cpu [[[0, 0]]]");
    expect(String(tensor([[[1]], [[2]]]))).toBe("Tensor [2, 1, 1] float32 cpu\n[[[1]],\n\n [[2]]]");
  });

  inScope("shows what is no ordinary number as it is", () => {
    expect(String(tensor([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]))).toBe(
      "Tensor [3] float32 cpu [NaN, Infinity, -Infinity]",
    );
    expect(String(tensor([1, 0], { dtype: "bool" }))).toBe("Tensor [2] bool cpu [true, false]");
    expect(String(tensor(BigInt64Array.of(2n ** 62n)))).toBe("Tensor [1] int64 cpu [4611686018427387904]");
    expect(String(tensor([0.1], { dtype: "bfloat16" }))).toBe("Tensor [1] bfloat16 cpu [0.1001]");
    const parts = [tensor([1, 0]), tensor([-2, 0.5])].map(({ handle }) => handle);
    const complex = wrap(native.call(native.op("aten::complex", ""), ...parts));
    expect(String(complex)).toBe("Tensor [2] complex64 cpu [1-2i, 0+0.5i]");
    const conjugate = wrap(native.call(native.op("aten::conj", ""), complex.handle));
    expect(String(conjugate)).toBe("Tensor [2] complex64 cpu [1+2i, 0-0.5i]");
  });

  inScope("shows the ends of what is long, and keeps graph, scope and tensors as they were", () => {
    expect(String(arange(0, 2000, 1, { dtype: "int32" }))).toBe(
      "Tensor [2000] int32 cpu [0, 1, 2, …, 1997, 1998, 1999]",
    );
    const wide = arange(0, 2000, 1, { dtype: "int32" }).view([2, 1000]);
    const live = native.liveHandles();
    expect(String(wide)).toBe(
      "Tensor [2, 1000] int32 cpu\n[[   0,    1,    2, …,  997,  998,  999],\n [1000, 1001, 1002, …, 1997, 1998, 1999]]",
    );
    expect(native.liveHandles()).toBe(live);
    const rows = String(zeros([500, 3]));
    expect(rows.split("\n")).toHaveLength(8); // the head, three rows, the dots, three rows
    expect(rows.split("\n")[4]).toBe(" …,");
  });

  inScope("shows whether gradients are wanted, and no values where there are none", () => {
    const learned = tensor([1]);
    learned.requiresGrad = true;
    expect(String(learned)).toBe("Tensor [1] float32 cpu requiresGrad [1]");
    expect(inspect({ y: zeros([], { device: "meta" }) })).toBe("{ y: Tensor [] float32 meta }");
    const gone = tensor([1]);
    gone.dispose();
    expect(String(gone)).toBe("Tensor (disposed)");
  });
});

describe("a tensor in JSON", () => {
  const json = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

  inScope("is its shape, dtype and values, never the engine's handle", () => {
    expect(json({ loss: tensor([[1, 0.5]]) })).toEqual({
      loss: { shape: [1, 2], dtype: "float32", values: [[1, 0.5]] },
    });
    expect(json(tensor(3))).toEqual({ shape: [], dtype: "float32", values: 3 });
    expect(json(zeros([2, 0, 3]))).toEqual({ shape: [2, 0, 3], dtype: "float32", values: [[], []] });
    expect(json(zeros([2], { device: "meta" }))).toEqual({ shape: [2], dtype: "float32", values: null });
    expect(json(tensor([1, 0], { dtype: "bool" }))).toMatchObject({ values: [true, false] });
  });

  inScope("has text where JSON has no number", () => {
    expect(json(tensor([Number.NaN, Number.NEGATIVE_INFINITY]))).toMatchObject({
      values: ["NaN", "-Infinity"],
    });
    expect(json(tensor(BigInt64Array.of(5n, 2n ** 62n)))).toMatchObject({
      values: [5, "4611686018427387904"],
    });
  });

  inScope("is refused where it is gone or too large", () => {
    expect(() => JSON.stringify(zeros([1_000_001]))).toThrow("1000001 elements is too large for JSON");
    const gone = tensor([1]);
    gone.dispose();
    expect(() => JSON.stringify(gone)).toThrow("this tensor was disposed");
  });
});
