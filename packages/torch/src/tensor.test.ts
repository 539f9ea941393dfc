import { inspect } from "node:util";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type DType,
  noGrad,
  ones,
  scope,
  type Tensor,
  type TypedArray,
  tensor,
  tensorOver,
  zeros,
} from "./index.js";

const inScope = (name: string, work: () => void): void => test(name, () => scope(work));

describe("tensor", () => {
  inScope("takes its shape from nested arrays and its dtype from the option, float32 without", () => {
    const x = tensor([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    expect([x.shape, x.dtype, x.device, x.ndim, x.numel, x.nbytes]).toEqual([
      [2, 3],
      "float32",
      "cpu",
      2,
      6,
      24,
    ]);
    expect(x.toNumbers()).toEqual([1, 2, 3, 4, 5, 6]);
    expect(tensor(7).shape).toEqual([]);
    expect(tensor(7).item()).toBe(7);
    expect(tensor([]).shape).toEqual([0]);
    expect(tensor([[], []]).shape).toEqual([2, 0]);
    expect(tensor([true, false], { dtype: "bool" }).toNumbers()).toEqual([1, 0]);
  });

  inScope("holds integers exactly in integer dtypes, beyond what float32 can", () => {
    expect(tensor([16_777_217], { dtype: "int32" }).item()).toBe(16_777_217);
    expect(tensor([2 ** 53 - 1], { dtype: "int64" }).item()).toBe(2 ** 53 - 1);
    expect(tensor([0.1], { dtype: "float64" }).item()).toBe(0.1);
    expect(() => tensor([0.5], { dtype: "int64" })).toThrow(RangeError);
  });

  inScope("refuses ragged arrays and shapes that do not fit", () => {
    expect(() => tensor([[1], [2, 3]])).toThrow("different lengths");
    expect(() => tensor([1, [2]])).toThrow(TypeError);
    expect(() => tensor([[1], 2])).toThrow("different depths");
    expect(() => tensor(new Float32Array(6), { shape: [4] })).toThrow("the array has 24 bytes");
    expect(() => tensor(new Float32Array(6), { shape: [-6] })).toThrow("negative");
    expect(() => tensor(new Uint16Array(2))).toThrow("no dtype for Uint16Array");
    expect(() => tensor([1], { dtype: "float31" as DType })).toThrow("unknown dtype float31");
  });

  test("gives back every typed array as it came, whatever its values", () => {
    const arrays = fc.oneof(
      fc.float32Array(),
      fc.float64Array(),
      fc.int8Array(),
      fc.int16Array(),
      fc.int32Array(),
      fc.uint8Array(),
      fc.bigInt64Array(),
    );
    fc.assert(
      fc.property(arrays, (array) =>
        scope(() => {
          const back = tensor(array as TypedArray).toTypedArray();
          expect(back.constructor).toBe(array.constructor);
          expect(new Uint8Array(back.buffer)).toEqual(
            new Uint8Array(array.buffer, array.byteOffset, array.byteLength),
          );
        }),
      ),
      { numRuns: 100 },
    );
  });

  inScope("copies: a later change of the array does not reach it", () => {
    const array = Float32Array.of(1, 2);
    const x = tensor(array);
    array[0] = 9;
    expect(x.toNumbers()).toEqual([1, 2]);
  });
});

describe("toTypedArray", () => {
  inScope("gives row-major order for views of any strides", () => {
    const x = tensor([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    expect(x.transpose(0, 1).toNumbers()).toEqual([1, 4, 2, 5, 3, 6]);
    expect(x.transpose(0, 1).strides).toEqual([1, 3]);
    expect(x.slice(1, 0, 3, 2).toNumbers()).toEqual([1, 3, 4, 6]);
    expect(x.select(1, 2).toNumbers()).toEqual([3, 6]);
    expect(x.narrow(0, 1, 1).expand([2, 3]).toNumbers()).toEqual([4, 5, 6, 4, 5, 6]);
  });

  inScope("gives half-precision numbers as float32, and never the tensor's own memory", () => {
    const half = tensor([0.1, 65504], { dtype: "float16" });
    expect(half.toTypedArray()).toEqual(Float32Array.of(0.0999755859375, 65504));
    expect(tensor([0.1], { dtype: "bfloat16" }).toTypedArray()).toEqual(Float32Array.of(0.10009765625));
    const x = tensor([1, 2]);
    (x.toTypedArray() as Float32Array)[0] = 9;
    expect(x.toNumbers()).toEqual([1, 2]);
  });
});

describe("views share memory", () => {
  inScope("between tensors", () => {
    const x = zeros([2, 2]);
    noGrad(() => x.select(0, 1).fill_(5));
    expect(x.toNumbers()).toEqual([0, 0, 5, 5]);
  });

  inScope("between a tensor and view32", () => {
    const x = zeros([3]);
    x.view32()[1] = 4;
    expect(x.toNumbers()).toEqual([0, 4, 0]);
    expect(() => x.to({ dtype: "float64" }).view32()).toThrow("view32 needs float32, this is float64");
    expect(() => zeros([2, 3]).transpose(0, 1).view32()).toThrow("only a contiguous tensor can be viewed");
  });

  inScope("between an array and tensorOver, whose buffer then stays where it is", () => {
    const array = Float32Array.of(1, 2, 3, 4);
    const x = tensorOver(array, [2, 2]);
    x.add_(1);
    array[3] = 0;
    expect([...array]).toEqual([2, 3, 4, 0]);
    expect(x.toNumbers()).toEqual([2, 3, 4, 0]);
    try {
      structuredClone(array.buffer, { transfer: [array.buffer] });
    } catch {
      // Newer Node refuses; older Node copies instead. Either way the memory must stay.
    }
    expect(array.length).toBe(4);
    expect(x.toNumbers()).toEqual([2, 3, 4, 0]);
  });

  inScope("but not with a buffer that can be resized under the tensor", () => {
    const Buffer_ = ArrayBuffer as unknown as new (
      length: number,
      options: { maxByteLength: number },
    ) => ArrayBuffer;
    expect(() => tensorOver(new Float32Array(new Buffer_(16, { maxByteLength: 64 })))).toThrow(
      "fixed length",
    );
  });
});

describe("to", () => {
  inScope("converts between all dtypes", () => {
    const dtypes: DType[] = [
      "uint8",
      "int8",
      "int16",
      "int32",
      "int64",
      "float16",
      "float32",
      "float64",
      "bfloat16",
    ];
    for (const from of dtypes)
      for (const dtype of dtypes) {
        const x = tensor([0, 1, 100], { dtype: from }).to({ dtype });
        expect([x.dtype, x.toNumbers()]).toEqual([dtype, [0, 1, 100]]);
      }
    expect(tensor([0, 2, -1]).to({ dtype: "bool" }).toNumbers()).toEqual([0, 1, 1]);
  });

  inScope("gives a second handle when nothing changes, and shapes alone on meta", () => {
    const x = tensor([1]);
    const y = x.to({ dtype: "float32" });
    expect(y).not.toBe(x);
    y.add_(1);
    expect(x.item()).toBe(2);
    const shapes = x.to({ device: "meta" });
    expect([shapes.device, shapes.shape]).toEqual(["meta", [1]]);
    expect(() => shapes.item()).toThrow();
  });
});

test("a disposed tensor throws at any use, says so, and may be disposed of again", () => {
  const x = ones([2]);
  x.dispose();
  x.dispose();
  expect(x.isDisposed).toBe(true);
  expect(() => x.shape).toThrow("this tensor was disposed");
  expect(() => x.add(1)).toThrow("aten::add.Scalar: argument 'self': this tensor was disposed");
  expect(inspect(x)).toBe("Tensor (disposed)");
});

inScope("an error carries the operator and the types and shapes of its tensors", () => {
  expect(() => ones([2, 3]).matmul(ones([4, 5]))).toThrow(
    /^aten::matmul\(Float \[2, 3\], Float \[4, 5\]\): /,
  );
  expect(() =>
    ones([2], { dtype: "int64" })
      .sqrt()
      .add(ones([3])),
  ).toThrow(/\(Float \[2\], Float \[3\]\)/);
  expect(() => ones([2]).add(undefined as unknown as Tensor)).toThrow(TypeError);
});

inScope("assign makes a handle mean another tensor, and leaves the source's own handle alone", () => {
  const x = tensor([1]);
  const source = tensor([2, 3]);
  expect(x.assign(source)).toBe(x);
  source.dispose();
  expect(x.toNumbers()).toEqual([2, 3]);
});
