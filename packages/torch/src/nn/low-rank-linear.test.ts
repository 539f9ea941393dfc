// The addon's operator, against the same in float64 by libtorch's own.
import { native } from "@spo/native";
import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import { checkpoint } from "../checkpoint.js";
import { Generator } from "../generator.js";
import { autocast, grad, noGrad } from "../modes.js";
import { linear } from "../ops.gen.js";
import { randn } from "../random.js";
import { scope } from "../scope.js";
import { type Tensor, tensor } from "../tensor.js";
import { lowRankLinear } from "./low-rank-linear.js";

const initial = native.kernels() as "libtorch" | "plain" | "avx2" | "avx512";
afterEach(() => void native.kernels(initial));

interface Problem {
  /** Axes of x before its last. */
  rows: readonly number[];
  inputs: number;
  outputs: number;
  rank: number;
  biased: boolean;
  factor: number;
  /** x is a view whose rows are not side by side. */
  strided?: boolean;
}

const PLAIN: Problem = { rows: [2, 5], inputs: 24, outputs: 17, rank: 4, biased: true, factor: 0.7 };

/** x, down, up, weight, bias, and a gradient of the result. */
function inputs({ rows, inputs, outputs, rank, biased, strided = false }: Problem): Tensor[] {
  const draw = (shape: readonly number[], seed: number): Tensor =>
    randn(shape, { generator: new Generator(seed) });
  const whole = draw([...rows, strided ? 2 * inputs : inputs], 1);
  return [
    whole.narrow(-1, 0, inputs),
    draw([rank, inputs], 2),
    draw([outputs, rank], 3),
    draw([outputs, inputs], 4),
    draw([...rows, outputs], 5),
    ...(biased ? [draw([outputs], 6)] : []),
  ];
}

/** The result and the gradients of x, down and up. By the definition in float64, or by the operator. */
function solve(problem: Problem, dtype: "float32" | "float64"): number[][] {
  return scope(() => {
    const [x, down, up, weight, along, bias] = inputs(problem).map((t) => t.to({ dtype })) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
      Tensor,
      Tensor?,
    ];
    const { factor } = problem;
    const leaves = [x, down, up];
    for (const leaf of leaves) leaf.requiresGrad = true;
    const y =
      dtype === "float64"
        ? linear(x, weight.add(up.matmul(down), { alpha: factor }), bias)
        : lowRankLinear(x, { weight, bias }, { down, up, factor });
    return [y, ...(grad([y], leaves, { gradients: [along] }) as Tensor[])].map((t) => t.toNumbers());
  });
}

/** Largest difference, as a part of the largest number there. */
function error(found: readonly number[], truth: readonly number[]): number {
  expect(found.length).toBe(truth.length);
  const largest = truth.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-3);
  return found.reduce((most, v, i) => Math.max(most, Math.abs(v - (truth[i] as number))), 0) / largest;
}

test("result and gradients are those of the merged map in float64, of any shape", () => {
  const problems = fc.record({
    rows: fc.array(fc.integer({ min: 1, max: 6 }), { maxLength: 3 }),
    inputs: fc.integer({ min: 1, max: 40 }),
    outputs: fc.integer({ min: 1, max: 40 }),
    rank: fc.integer({ min: 1, max: 9 }),
    biased: fc.boolean(),
    factor: fc.double({ min: -2, max: 2, noNaN: true }),
    strided: fc.boolean(),
  });
  fc.assert(
    fc.property(problems, (problem) => {
      const truth = solve(problem, "float64");
      for (const [i, found] of solve(problem, "float32").entries())
        expect(error(found, truth[i] as number[]), `${i}`).toBeLessThan(2e-6);
    }),
    { numRuns: 40, seed: 17 },
  );
});

test("without kernels of the addon the numbers are libtorch's, to rounding", () => {
  const own = solve(PLAIN, "float32");
  native.kernels("libtorch");
  for (const [i, found] of solve(PLAIN, "float32").entries())
    expect(error(found, own[i] as number[])).toBeLessThan(1e-6);
});

test("the gradient has a gradient", () =>
  scope(() => {
    const second = (): number[][] =>
      scope(() => {
        const [x, down, up, weight] = inputs(PLAIN) as [Tensor, Tensor, Tensor, Tensor];
        const leaves = [x, down, up];
        for (const leaf of leaves) leaf.requiresGrad = true;
        const y = lowRankLinear(x, { weight }, { down, up, factor: 0.7 });
        const [first] = grad([y.square().sum()], [x], { createGraph: true }) as [Tensor];
        return (grad([first.square().sum()], leaves) as Tensor[]).map((t) => t.toNumbers());
      });
    const own = second();
    native.kernels("libtorch");
    for (const [i, found] of second().entries()) expect(error(found, own[i] as number[])).toBeLessThan(1e-5);
  }));

test("a weight that learns has its gradient", () =>
  scope(() => {
    const [x, down, up, weight, along] = inputs(PLAIN) as [Tensor, Tensor, Tensor, Tensor, Tensor];
    weight.requiresGrad = true;
    const y = lowRankLinear(x, { weight }, { down, up, factor: 0.7 });
    const [found] = grad([y], [weight], { gradients: [along] }) as [Tensor];
    const truth = along.flatten(0, 1).transpose(0, 1).matmul(x.flatten(0, 1));
    expect(error(found.toNumbers(), truth.toNumbers())).toBeLessThan(1e-6);
  }));

test("of a base in half precision, and under autocast, the result is in half precision and the adapter learns in float32", () =>
  scope(() => {
    const [x, down, up, weight, , bias] = inputs(PLAIN) as Tensor[] as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ];
    const low = { down, up, factor: 0.7 };
    const truth = noGrad(() => lowRankLinear(x, { weight, bias }, low)).toNumbers();
    const half = (t: Tensor): Tensor => t.to({ dtype: "bfloat16" });
    down.requiresGrad = true;
    for (const y of [
      lowRankLinear(half(x), { weight: half(weight), bias: half(bias) }, low),
      autocast({ dtype: "bfloat16" }, () => lowRankLinear(x, { weight, bias }, low)),
    ]) {
      expect(y.dtype).toBe("bfloat16");
      expect(error(y.to({ dtype: "float32" }).toNumbers(), truth)).toBeLessThan(2e-2);
      expect((grad([y.sum()], [down])[0] as Tensor).dtype).toBe("float32");
    }
  }));

test("a checkpoint computes the same bits again", () =>
  scope(() => {
    const gradients = (run: (body: (x: Tensor) => Tensor, x: Tensor) => Tensor): number[][] =>
      scope(() => {
        const [x, down, up, weight] = inputs({ ...PLAIN, outputs: 24 }) as [Tensor, Tensor, Tensor, Tensor];
        const leaves = [x, down, up];
        for (const leaf of leaves) leaf.requiresGrad = true;
        const once = (t: Tensor): Tensor => lowRankLinear(t, { weight }, { down, up, factor: 0.7 });
        run((t) => scope(() => once(once(t))), x)
          .square()
          .sum()
          .backward();
        return leaves.map((leaf) => (leaf.grad as Tensor).toNumbers());
      });
    expect(gradients((body, x) => checkpoint(body, [x]))).toEqual(gradients((body, x) => body(x)));
  }));

test("a wrong argument is named, and shapes that do not fit are refused", () =>
  scope(() => {
    const [x, down, up, weight] = inputs(PLAIN) as [Tensor, Tensor, Tensor, Tensor];
    const low = { down, up, factor: 1 };
    expect(() => lowRankLinear(3 as unknown as Tensor, { weight }, low)).toThrow(
      "lowRankLinear: argument 'x' must be a Tensor",
    );
    expect(() => lowRankLinear(tensor([1, 2]), { weight }, low)).toThrow();
    expect(() => lowRankLinear(x, { weight }, { ...low, up: up.narrow(0, 0, 3) })).toThrow();
  }));
