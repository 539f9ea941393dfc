import { describe, expect, test } from "vitest";
import {
  cat,
  conv2d,
  Generator,
  grad,
  groupNorm,
  layerNorm,
  noGrad,
  randn,
  scaledDotProductAttention,
  scope,
  stack,
  type Tensor,
  tensor,
} from "./index.js";

/** Numbers in float64 that want gradients, the same in every run. */
function leaf(shape: readonly number[], seed: number): Tensor {
  const x = randn(shape, { generator: new Generator(seed), dtype: "float64" });
  x.requiresGrad = true;
  return x;
}

/** d f / d x[i] by central differences, for each element of x. */
function differences(f: () => Tensor, x: Tensor, h = 1e-5): number[] {
  const values = new Float64Array(x.toTypedArray() as Float64Array);
  const at = (i: number, step: number): number =>
    scope(() => {
      const moved = values.slice();
      moved[i] = (moved[i] as number) + step;
      noGrad(() => x.copy_(tensor(moved, { shape: x.shape })));
      return noGrad(f).item();
    });
  const found = Array.from(values, (_, i) => (at(i, h) - at(i, -h)) / (2 * h));
  scope(() => noGrad(() => x.copy_(tensor(values, { shape: x.shape }))));
  return found;
}

const cases: [name: string, shapes: number[][], f: (...x: [Tensor, Tensor, Tensor]) => Tensor][] = [
  [
    "add, mul, div and pow with broadcasting",
    [[2, 3], [3], [2, 1]],
    (a, b, c) => a.mul(b).add(c).div(b.mul(b).add(1)).pow(2),
  ],
  [
    "exp, log, sqrt, tanh and sigmoid",
    [[5]],
    (a) => a.exp().add(1).log().sqrt().mul(a.tanh()).mul(a.sigmoid()),
  ],
  [
    "matmul",
    [
      [2, 3],
      [3, 4],
    ],
    (a, b) => a.matmul(b).square(),
  ],
  [
    "softmax and logsumexp",
    [[2, 4]],
    (a) =>
      a
        .softmax(1)
        .square()
        .sum(1)
        .mul(a.logsumexp([1])),
  ],
  ["silu and gelu", [[6]], (a) => a.silu().mul(a.gelu())],
  [
    "conv2d with stride and padding",
    [[1, 2, 5, 5], [3, 2, 3, 3], [3]],
    (x, w, b) => conv2d(x, w, b, 2, 1).square(),
  ],
  ["groupNorm", [[2, 4, 3], [4], [4]], (x, w, b) => groupNorm(x, 2, w, b).square().mul(x)],
  ["layerNorm", [[3, 4], [4], [4]], (x, w, b) => layerNorm(x, [4], w, b).square().mul(x)],
  [
    "attention",
    [
      [1, 2, 3, 4],
      [1, 2, 5, 4],
      [1, 2, 5, 4],
    ],
    (q, k, v) => scaledDotProductAttention(q, k, v).square(),
  ],
  [
    "views, cat and stack",
    [
      [2, 3],
      [2, 3],
    ],
    (a, b) => cat([a.transpose(0, 1), b.transpose(0, 1)]).mul(stack([a, b]).reshape([6, 2])),
  ],
  [
    "select, narrow and expand",
    [[3, 4]],
    (a) =>
      a
        .select(0, 1)
        .expand([2, 4])
        .mul(a.narrow(0, 1, 2)),
  ],
];

describe("gradients agree with finite differences:", () => {
  test.each(cases)("%s", (_, shapes, f) =>
    scope(() => {
      const leaves = shapes.map((shape, i) => leaf(shape, i + 1));
      const loss = () => scope(() => f(...(leaves as [Tensor, Tensor, Tensor])).sum());
      loss().backward();
      for (const x of leaves) {
        const ours = x.grad?.toNumbers() ?? [];
        const theirs = differences(loss, x);
        const scale = Math.max(1, ...theirs.map(Math.abs));
        expect(ours.length).toBe(theirs.length);
        for (const [i, value] of theirs.entries())
          expect(Math.abs((ours[i] as number) - value) / scale).toBeLessThan(1e-7);
      }
    }),
  );
});

describe("backward", () => {
  test("adds to what is there, until the gradient is taken away", () =>
    scope(() => {
      const x = tensor([3]);
      x.requiresGrad = true;
      x.mul(x).backward();
      x.mul(x).backward();
      expect(x.grad?.item()).toBe(12);
      x.grad = undefined;
      expect(x.grad).toBeUndefined();
    }));

  test("needs a gradient for more than one element, and goes twice only with retainGraph", () =>
    scope(() => {
      const x = tensor([1, 2]);
      x.requiresGrad = true;
      const y = x.mul(x);
      expect(() => y.backward()).toThrow("grad can be implicitly created only for scalar outputs");
      y.backward(tensor([1, 10]), { retainGraph: true });
      expect(x.grad?.toNumbers()).toEqual([2, 40]);
      y.backward(tensor([1, 1]));
      expect(x.grad?.toNumbers()).toEqual([4, 44]);
      expect(() => y.backward(tensor([1, 1]))).toThrow(/second time/);
    }));

  test("says that a tensor has no graph", () =>
    scope(() => {
      expect(() => tensor([1]).backward()).toThrow(/does not require grad/);
    }));
});

describe("grad", () => {
  test("of a gradient gives second derivatives", () =>
    scope(() => {
      const x = tensor([2, -1], { dtype: "float64" });
      x.requiresGrad = true;
      const [first] = grad([x.pow(4).sum()], [x], { createGraph: true });
      expect(first?.toNumbers()).toEqual([32, -4]);
      const [second] = grad([(first as Tensor).sum()], [x]);
      expect(second?.toNumbers()).toEqual([48, 12]);
      expect(x.grad).toBeUndefined();
    }));

  test("is undefined for an input that has no part in the output", () =>
    scope(() => {
      const x = tensor([1]);
      const y = tensor([1]);
      for (const each of [x, y]) each.requiresGrad = true;
      const [dx, dy] = grad([x.mul(3)], [x, y]);
      expect(dx?.item()).toBe(3);
      expect(dy).toBeUndefined();
    }));

  test("of several outputs weighs each by its own gradient", () =>
    scope(() => {
      const x = tensor([2]);
      x.requiresGrad = true;
      const [dx] = grad([x.mul(3), x.mul(x)], [x], { gradients: [tensor([10]), tensor([1])] });
      expect(dx?.item()).toBe(34);
    }));
});

test("a gradient of another shape or dtype is refused before an optimizer trusts it", () =>
  scope(() => {
    const x = tensor([1, 2]);
    expect(() => {
      x.grad = tensor([1]);
    }).toThrow("a gradient of Float [1] does not fit a tensor of Float [2]");
    expect(() => {
      x.grad = tensor([1, 2], { dtype: "float64" });
    }).toThrow("Double [2]");
  }));
