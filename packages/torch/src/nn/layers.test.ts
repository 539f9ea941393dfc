import { describe, expect, test } from "vitest";
import {
  Conv2d,
  Embedding,
  Generator,
  GroupNorm,
  initialize,
  LayerNorm,
  Linear,
  noGrad,
  RMSNorm,
  randn,
  scope,
  tensor,
} from "../index.js";

const generator = (seed = 1): Generator => new Generator(seed);
const numbers = (shape: readonly number[], seed: number) => randn(shape, { generator: generator(seed) });

function close(ours: readonly number[], formula: readonly number[], tolerance = 1e-5): void {
  expect(ours.length).toBe(formula.length);
  for (const [i, value] of formula.entries())
    expect(Math.abs((ours[i] as number) - value)).toBeLessThan(tolerance);
}

describe("Linear", () => {
  test("is x·Wᵀ + b along the last axis", () =>
    scope(() => {
      using layer = new Linear(3, 2);
      initialize(layer, generator());
      const x = numbers([4, 5, 3], 2);
      const y = noGrad(() => layer.forward(x));
      expect(y.shape).toEqual([4, 5, 2]);
      const [w, b, v] = [layer.weight, layer.bias ?? tensor([]), x].map((t) => t.toNumbers()) as [
        number[],
        number[],
        number[],
      ];
      const expected: number[] = [];
      for (let row = 0; row < 20; row++)
        for (let out = 0; out < 2; out++) {
          let sum = b[out] as number;
          for (let i = 0; i < 3; i++) sum += (v[row * 3 + i] as number) * (w[out * 3 + i] as number);
          expected.push(sum);
        }
      close(y.toNumbers(), expected);
    }));

  test("without a bias has none", () => {
    expect([...new Linear(2, 2, { bias: false }).namedParameters().keys()]).toEqual(["weight"]);
  });
});

describe("Conv2d", () => {
  test("is the sum over channels and kernel, with stride and zero padding", () =>
    scope(() => {
      using layer = new Conv2d(2, 3, 3, { stride: 2, padding: 1 });
      initialize(layer, generator());
      const x = numbers([1, 2, 5, 6], 3);
      const y = noGrad(() => layer.forward(x));
      expect(y.shape).toEqual([1, 3, 3, 3]);
      const [w, b, v] = [layer.weight, layer.bias ?? tensor([]), x].map((t) => t.toNumbers()) as [
        number[],
        number[],
        number[],
      ];
      const pixel = (c: number, i: number, j: number): number =>
        i < 0 || j < 0 || i >= 5 || j >= 6 ? 0 : (v[(c * 5 + i) * 6 + j] as number);
      const expected: number[] = [];
      for (let o = 0; o < 3; o++)
        for (let i = 0; i < 3; i++)
          for (let j = 0; j < 3; j++) {
            let sum = b[o] as number;
            for (let c = 0; c < 2; c++)
              for (let k = 0; k < 9; k++)
                sum +=
                  (w[(o * 2 + c) * 9 + k] as number) *
                  pixel(c, 2 * i - 1 + Math.floor(k / 3), 2 * j - 1 + (k % 3));
            expected.push(sum);
          }
      close(y.toNumbers(), expected);
    }));
});

/** (x − mean)/√(variance + eps) over each run of `length` numbers. */
function normalised(values: readonly number[], length: number, eps: number): number[] {
  return values.map((value, i) => {
    const start = Math.floor(i / length) * length;
    const run = values.slice(start, start + length);
    const mean = run.reduce((a, b) => a + b, 0) / length;
    const variance = run.reduce((a, b) => a + (b - mean) ** 2, 0) / length;
    return (value - mean) / Math.sqrt(variance + eps);
  });
}

test("GroupNorm normalises each group of channels of each image, then scales and shifts each channel", () =>
  scope(() => {
    using layer = new GroupNorm(2, 4, { eps: 1e-3 });
    initialize(layer, generator());
    layer.weight.copy_(numbers([4], 5));
    layer.bias.copy_(numbers([4], 6));
    const x = numbers([3, 4, 2, 2], 7);
    const [w, b] = [layer.weight.toNumbers(), layer.bias.toNumbers()];
    const channel = (i: number): number => Math.floor(i / 4) % 4;
    const expected = normalised(x.toNumbers(), 8, 1e-3).map(
      (v, i) => v * (w[channel(i)] as number) + (b[channel(i)] as number),
    );
    close(noGrad(() => layer.forward(x)).toNumbers(), expected);
  }));

test("LayerNorm normalises the last axis, then scales and shifts each place", () =>
  scope(() => {
    using layer = new LayerNorm(5, { eps: 1e-2 });
    initialize(layer, generator());
    layer.weight.copy_(numbers([5], 5));
    layer.bias.copy_(numbers([5], 6));
    const x = numbers([2, 3, 5], 7);
    const [w, b] = [layer.weight.toNumbers(), layer.bias.toNumbers()];
    const expected = normalised(x.toNumbers(), 5, 1e-2).map(
      (v, i) => v * (w[i % 5] as number) + (b[i % 5] as number),
    );
    close(noGrad(() => layer.forward(x)).toNumbers(), expected);
  }));

test("RMSNorm divides by the root of the mean square, takes no mean off, and scales each place", () =>
  scope(() => {
    using layer = new RMSNorm(4, { eps: 1e-2 });
    initialize(layer, generator());
    expect(layer.weight.toNumbers()).toEqual([1, 1, 1, 1]);
    layer.weight.copy_(numbers([4], 5));
    const x = numbers([2, 3, 4], 7);
    const [w, v] = [layer.weight.toNumbers(), x.toNumbers()];
    const expected = v.map((value, i) => {
      const row = v.slice(i - (i % 4), i - (i % 4) + 4);
      return ((w[i % 4] as number) * value) / Math.sqrt(row.reduce((sum, y) => sum + y * y, 0) / 4 + 1e-2);
    });
    close(noGrad(() => layer.forward(x)).toNumbers(), expected);
  }));

test("Embedding gives rows of its table, and refuses a number that has none", () =>
  scope(() => {
    using layer = new Embedding(3, 2);
    initialize(layer, generator());
    const table = layer.weight.toNumbers();
    const y = layer.forward(tensor([[2, 0]], { dtype: "int64" }));
    expect(y.shape).toEqual([1, 2, 2]);
    expect(y.toNumbers()).toEqual([...table.slice(4, 6), ...table.slice(0, 2)]);
    expect(() => layer.forward(tensor([3], { dtype: "int64" }))).toThrow(/aten::embedding.*out of range/s);
  }));

describe("initialize", () => {
  test("gives weights and biases of U(±1/√fanIn), norms of ones and zeros, and the same for the same seed", () =>
    scope(() => {
      using linear = new Linear(100, 50);
      using conv = new Conv2d(4, 50, 5);
      using norm = new GroupNorm(2, 4);
      for (const layer of [linear, conv, norm]) initialize(layer, generator(9));
      const large = linear.weight.toNumbers();
      expect(Math.max(...large.map(Math.abs))).toBeLessThanOrEqual(0.1);
      expect(Math.max(...large)).toBeGreaterThan(0.099);
      expect(Math.min(...large)).toBeLessThan(-0.099);
      expect(Math.max(...conv.weight.toNumbers().map(Math.abs))).toBeLessThanOrEqual(0.1);
      expect([norm.weight.toNumbers(), norm.bias.toNumbers()]).toEqual([
        [1, 1, 1, 1],
        [0, 0, 0, 0],
      ]);
      using again = new Linear(100, 50);
      initialize(again, generator(9));
      expect(again.weight.toNumbers()).toEqual(large);
      initialize(again, generator(10));
      expect(again.weight.toNumbers()).not.toEqual(large);
    }));

  test("works in the dtype that is asked for", () =>
    scope(() => {
      using layer = new Linear(2, 2);
      initialize(layer, generator(), { dtype: "bfloat16" });
      expect(layer.weight.dtype).toBe("bfloat16");
    }));
});
