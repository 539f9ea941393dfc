// Matrix products by oneDNN in the place of MKL's, against the same in float64 by libtorch.
import { native } from "@spo/native";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { Generator } from "./generator.js";
import { wrap } from "./handle.js";
import { getThreads, grad, setThreads } from "./modes.js";
import { addmm, bmm, linear, mm } from "./ops.gen.js";
import { randn } from "./random.js";
import { scope } from "./scope.js";
import { type Tensor, tensor } from "./tensor.js";

type Products = "mkl" | "onednn";
const initial = native.products() as Products;
const kernels = native.kernels() as "libtorch";
const threads = getThreads();
afterEach(() => {
  native.products(initial);
  native.kernels(kernels);
  setThreads(threads);
});

const draw = (shape: readonly number[], seed: number): Tensor =>
  randn(shape, { generator: new Generator(seed) });

/** Largest difference, as a part of the largest number there. */
function error(found: readonly number[], truth: readonly number[]): number {
  expect(found.length).toBe(truth.length);
  const largest = truth.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-3);
  return found.reduce((most, v, i) => Math.max(most, Math.abs(v - (truth[i] as number))), 0) / largest;
}

type Run = (...tensors: Tensor[]) => Tensor;

/** The result of `run`, and the gradients of all that it is given. */
function solve(shapes: readonly (readonly number[])[], run: Run, by: "float64" | Products): number[][] {
  return scope(() => {
    native.products(by === "float64" ? "mkl" : by);
    const leaves = shapes.map((shape, i) => draw(shape, i).to({ dtype: by === "float64" ? by : "float32" }));
    for (const leaf of leaves) leaf.requiresGrad = true;
    const y = run(...leaves);
    const along = draw(y.shape, 9).to({ dtype: y.dtype });
    return [y, ...(grad([y], leaves, { gradients: [along] }) as Tensor[])].map((x) => x.toNumbers());
  });
}

const linearMap: Run = (x, weight, bias) => linear(x as Tensor, weight as Tensor, bias);
const turned = (x: Tensor | undefined): Tensor => (x as Tensor).transpose(-1, -2);

/** Products large enough to be oneDNN's, by every operator and order of the numbers in memory. */
const CASES: Readonly<Record<string, { shapes: readonly (readonly number[])[]; run: Run }>> = {
  "a linear map": { shapes: [[300, 64], [96, 64], [96]], run: linearMap },
  "a linear map of a batch": { shapes: [[3, 90, 64], [128, 64], [128]], run: linearMap },
  "a linear map without bias": {
    shapes: [
      [260, 70],
      [80, 70],
    ],
    run: linearMap,
  },
  "both turned": {
    shapes: [
      [72, 200],
      [110, 72],
    ],
    run: (a, b) => mm(turned(a), turned(b)),
  },
  "columns of a wider matrix": {
    shapes: [
      [200, 150],
      [64, 120],
    ],
    run: (a, b) => mm((a as Tensor).narrow(1, 50, 64), (b as Tensor).narrow(1, 5, 110)),
  },
  "a batch of products": {
    shapes: [
      [3, 110, 100],
      [3, 100, 110],
    ],
    run: (a, b) => bmm(a as Tensor, b as Tensor),
  },
  "a batch of products, the second turned": {
    shapes: [
      [2, 110, 100],
      [2, 110, 100],
    ],
    run: (a, b) => bmm(a as Tensor, turned(b)),
  },
  "a sum of a column and a multiple": {
    shapes: [
      [110, 1],
      [110, 100],
      [100, 110],
    ],
    run: (self, a, b) => addmm(self as Tensor, a as Tensor, b as Tensor, { alpha: -0.5 }),
  },
};

describe.each(Object.entries(CASES))("%s", (_, { shapes, run }) => {
  test("result and gradients are those of float64", () => {
    const truth = solve(shapes, run, "float64");
    for (const [i, found] of solve(shapes, run, "onednn").entries())
      expect(error(found, truth[i] as number[]), `${i}`).toBeLessThan(2e-6);
  });

  test("is the same on two threads, to rounding", () => {
    setThreads(1);
    const alone = solve(shapes, run, "onednn");
    setThreads(2);
    for (const [i, found] of solve(shapes, run, "onednn").entries())
      expect(error(found, alone[i] as number[]), `${i}`).toBeLessThan(1e-6);
  });
});

test("of any shape", () => {
  const sizes = fc.tuple(...Array.from({ length: 3 }, () => fc.integer({ min: 1, max: 200 })));
  fc.assert(
    fc.property(sizes, ([rows, inner, columns]) => {
      const shapes = [[rows, inner], [columns, inner], [columns]] as [number[], number[], number[]];
      const truth = solve(shapes, linearMap, "float64");
      for (const [i, found] of solve(shapes, linearMap, "onednn").entries())
        expect(error(found, truth[i] as number[]), `${i}`).toBeLessThan(5e-6);
    }),
    { numRuns: 30, seed: 17 },
  );
});

describe("into a tensor that is there", () => {
  const operands = (): [Tensor, Tensor] => [draw([110, 100], 1), draw([100, 110], 2)];
  const truth = (): number[] => {
    const [a, b] = operands().map((x) => x.to({ dtype: "float64" })) as [Tensor, Tensor];
    return mm(a, b).toNumbers();
  };
  /** self += alpha · a · b, as the layers with an adapter do it. */
  const addProduct = (self: Tensor, a: Tensor, b: Tensor, alpha = 1): Tensor =>
    wrap(native.call(native.op("aten::addmm_", ""), self.handle, a.handle, b.handle, 1, alpha));

  test("the product is added", () =>
    scope(() => {
      native.products("onednn");
      const before = draw([110, 110], 3).toNumbers();
      const sum = tensor(before).reshape([110, 110]);
      addProduct(sum, ...operands(), 2);
      const expected = truth().map((v, i) => 2 * v + (before[i] as number));
      expect(error(sum.toNumbers(), expected)).toBeLessThan(2e-6);
    }));

  test("whose numbers lie apart", () =>
    scope(() => {
      native.products("onednn");
      const wide = draw([110, 220], 3);
      const half = wide.narrow(1, 110, 110);
      const [left, before] = [wide.narrow(1, 0, 110).toNumbers(), half.toNumbers()];
      addProduct(half, ...operands());
      const expected = truth().map((v, i) => v + (before[i] as number));
      expect(error(half.toNumbers(), expected)).toBeLessThan(2e-6);
      expect(wide.narrow(1, 0, 110).toNumbers()).toEqual(left);
    }));

  test.each(["mm", "addmm"])("that %s is told of", (name) =>
    scope(() => {
      native.products("onednn");
      const [a, b] = operands();
      const [out, bias] = [draw([110, 110], 3), draw([110], 4)];
      const operator = native.op(`aten::${name}`, "out");
      if (name === "mm") wrap(native.call(operator, a.handle, b.handle, out.handle));
      else wrap(native.call(operator, bias.handle, a.handle, b.handle, 1, 1, out.handle));
      const of = bias.toNumbers();
      const expected = truth().map((v, i) => v + (name === "mm" ? 0 : (of[i % 110] as number)));
      expect(error(out.toNumbers(), expected)).toBeLessThan(2e-6);
    }),
  );

  test("a multiple of what is there", () =>
    scope(() => {
      native.products("onednn");
      const sum = draw([110, 110], 3);
      const before = sum.toNumbers();
      const expected = truth().map((v, i) => v - 3 * (before[i] as number));
      expect(error(addmm(sum, ...operands(), { beta: -3 }).toNumbers(), expected)).toBeLessThan(2e-6);
    }));
});

test("oneDNN's are used where so told and large enough, and give other bits than MKL's", () =>
  scope(() => {
    const of = (rows: number, by: Products): number[] => {
      native.products(by);
      return mm(draw([rows, 700], 1), draw([700, 64], 2)).toNumbers();
    };
    expect(of(64, "onednn")).not.toEqual(of(64, "mkl"));
    expect(of(8, "onednn")).toEqual(of(8, "mkl"));
    native.kernels("libtorch");
    expect(of(64, "onednn")).toEqual(of(64, "mkl"));
  }));

test("in bfloat16 the bias is added before the sum is rounded", () =>
  scope(() => {
    const [x, weight, bias] = [draw([2, 70, 96], 1), draw([200, 96], 2), draw([200], 3)].map((t) =>
      t.to({ dtype: "bfloat16" }),
    ) as [Tensor, Tensor, Tensor];
    const [a, b, c] = [x, weight, bias].map((t) => t.to({ dtype: "float64" })) as [Tensor, Tensor, Tensor];
    const rounded = linear(a, b, c).to({ dtype: "bfloat16" }).toNumbers();
    for (const by of ["mkl", "onednn"] as const) {
      native.products(by);
      const y = linear(x, weight, bias);
      expect(y.dtype).toBe("bfloat16");
      expect(error(y.toNumbers(), rounded)).toBeLessThan(2 ** -9);
      const others = y.toNumbers().filter((v, i) => v !== rounded[i]).length;
      expect(others).toBeLessThan(0.01 * rounded.length);
    }
  }));

test("what does not fit is refused in libtorch's words; other dtypes are libtorch's", () =>
  scope(() => {
    native.products("onednn");
    const [a, b] = [draw([110, 100], 1), draw([90, 110], 2)];
    expect(() => mm(a, b)).toThrow(/mat1 and mat2 shapes cannot be multiplied \(110x100 and 90x110\)/);
    expect(() => addmm(draw([7], 3), a, b.transpose(0, 1).contiguous().narrow(0, 0, 100))).toThrow(
      /expand|size/,
    );
    const half = a.to({ dtype: "bfloat16" });
    expect(() => mm(a, half.transpose(0, 1))).toThrow(/dtype/);
    expect(mm(half, half.transpose(0, 1)).dtype).toBe("bfloat16");
  }));

test("an unknown name is refused", () => {
  expect(() => native.products("blas" as Products)).toThrow("SPO_PRODUCTS must be mkl or onednn, not blas");
});
