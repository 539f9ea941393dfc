// GroupNorm's kernels of the addon, against the same in float64 by libtorch.
import { native } from "@spo/native";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { checkpoint } from "../checkpoint.js";
import type { DType } from "../dtype.js";
import { Generator } from "../generator.js";
import { getThreads, grad, noGrad, setThreads } from "../modes.js";
import { groupNorm, silu } from "../ops.gen.js";
import { randn } from "../random.js";
import { scope } from "../scope.js";
import { type Tensor, tensor } from "../tensor.js";
import { GroupNorm } from "./layers.js";
import { initialize } from "./module.js";

const SETS = ["plain", "avx2", "avx512"] as const;
const initial = native.kernels() as (typeof SETS)[number] | "libtorch";
const threads = getThreads();
afterEach(() => {
  native.kernels(initial);
  setThreads(threads);
});

interface Problem {
  shape: readonly [images: number, channels: number, height: number, width: number];
  groups: number;
  withSilu: boolean;
  dtype?: DType;
  /** What inputs are rounded to before they have `dtype`. */
  numbers?: DType;
  /** Of all channels, in standard deviations. */
  mean?: number;
}

const channelsLast = (x: Tensor): Tensor => x.contiguous({ memoryFormat: "channels_last" });

function norm(groups: number, channels: number): GroupNorm {
  const layer = new GroupNorm(groups, channels);
  initialize(layer, new Generator(0));
  return layer;
}

/** The result and the gradients of x, weight and bias, in float64 numbers. */
function solve(
  { shape, groups, withSilu, dtype = "float32", numbers = dtype, mean = 0 }: Problem,
  kernels: "float64" | typeof initial,
) {
  return scope(() => {
    const draw = (size: readonly number[], seed: number): Tensor =>
      randn(size, { generator: new Generator(seed) })
        .to({ dtype: numbers })
        .to({ dtype });
    const [, channels] = shape;
    const inputs = [
      channelsLast(draw(shape, 3).add(mean).to({ dtype: numbers }).to({ dtype })),
      draw([channels], 1),
      draw([channels], 2),
    ].map((t) => (kernels === "float64" ? t.to({ dtype: "float64" }) : t));
    for (const input of inputs) input.requiresGrad = true;
    const [x, weight, bias] = inputs as [Tensor, Tensor, Tensor];
    const along = draw(shape, 4).to({ dtype: x.dtype });
    let y: Tensor;
    if (kernels === "float64") {
      const z = groupNorm(x, groups, weight, bias, 1e-5);
      y = withSilu ? silu(z) : z;
    } else {
      native.kernels(kernels);
      const layer = new GroupNorm(groups, channels, { eps: 1e-5 });
      Object.assign(layer, { weight, bias });
      y = withSilu ? layer.forwardSilu(x) : layer.forward(x);
      expect(y.strides).toEqual(x.strides);
    }
    const gradients = grad([y], inputs, { gradients: [along] }) as Tensor[];
    return [y, ...gradients].map((t) => t.to({ dtype: "float64" }).toNumbers());
  });
}

/** Largest difference, as a part of the largest number there. */
function error(found: readonly number[], truth: readonly number[]): number {
  expect(found.length).toBe(truth.length);
  const largest = truth.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-3);
  return found.reduce((most, v, i) => Math.max(most, Math.abs(v - (truth[i] as number))), 0) / largest;
}

function expectTruth(problem: Problem, kernels: typeof initial, tolerance: number): void {
  const truth = solve(problem, "float64");
  for (const [i, found] of solve(problem, kernels).entries())
    expect(error(found, truth[i] as number[]), `${JSON.stringify(problem)}, ${i}`).toBeLessThan(tolerance);
}

describe.each(SETS)("with %s instructions", (kernels) => {
  test.each([false, true])("result and gradients are those of float64 (SiLU: %s)", (withSilu) => {
    expectTruth({ shape: [2, 32, 9, 7], groups: 8, withSilu }, kernels, 3e-6);
    expectTruth({ shape: [1, 320, 33, 32], groups: 32, withSilu }, kernels, 3e-6); // several pieces an image
    expectTruth({ shape: [2, 32, 9, 7], groups: 8, withSilu, dtype: "bfloat16" }, kernels, 4e-3);
  });

  test.each([false, true])("in bfloat16 they are those of float32, rounded once (SiLU: %s)", (withSilu) => {
    for (const shape of [
      [2, 12, 5, 7],
      [1, 72, 48, 48], // two pieces
    ] as const) {
      const problem = { shape, groups: 4, withSilu, mean: 3 };
      const exact = scope(() =>
        solve({ ...problem, numbers: "bfloat16" }, kernels).map((v) =>
          tensor(v).to({ dtype: "bfloat16" }).toNumbers(),
        ),
      );
      expect(solve({ ...problem, dtype: "bfloat16" }, kernels)).toEqual(exact);
    }
  });

  test("of any shape", () => {
    const sizes = fc.record({
      images: fc.integer({ min: 1, max: 3 }),
      groups: fc.integer({ min: 1, max: 7 }),
      width: fc.integer({ min: 1, max: 12 }),
      height: fc.integer({ min: 2, max: 9 }),
      across: fc.integer({ min: 2, max: 9 }),
      withSilu: fc.boolean(),
    });
    fc.assert(
      fc.property(sizes, ({ images, groups, width, height, across, withSilu }) =>
        expectTruth({ shape: [images, groups * width, height, across], groups, withSilu }, kernels, 1e-5),
      ),
      { numRuns: 15, seed: 17 },
    );
  });

  test("a mean far from zero costs no more bits than float32 has there", () => {
    expectTruth({ shape: [1, 16, 16, 16], groups: 4, withSilu: true, mean: 100 }, kernels, 2e-5);
  });

  test("as many threads as there are give the same bits", () => {
    for (const shape of [
      [3, 24, 8, 8],
      [1, 64, 48, 48], // two pieces
    ] as const) {
      const problem = { shape, groups: 8, withSilu: true };
      setThreads(1);
      const alone = solve(problem, kernels);
      setThreads(2);
      for (const [i, found] of solve(problem, kernels).entries())
        expect(error(found, alone[i] as number[])).toBe(0);
    }
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    "%s in x, weight or bias comes through as in libtorch",
    (value) =>
      scope(() => {
        const x = channelsLast(randn([2, 8, 3, 3], { generator: new Generator(1) }));
        for (const place of ["x", "weight", "bias"] as const) {
          const layer = norm(2, 8);
          const input = x.clone();
          noGrad(() => (place === "x" ? input : layer[place]).select(-1, 1).fill_(value));
          // An infinite weight gives libtorch NaN, for it takes the mean times the weight from the result.
          const kinds = (y: Tensor): string[] =>
            y
              .toNumbers()
              .map((v) => (Number.isFinite(v) ? "finite" : place === "weight" ? "not finite" : `${v}`));
          for (const run of [(y: Tensor) => layer.forward(y), (y: Tensor) => layer.forwardSilu(y)]) {
            native.kernels(kernels);
            const found = kinds(noGrad(() => run(input)));
            native.kernels("libtorch");
            expect(found).toEqual(kinds(noGrad(() => run(input))));
          }
        }
      }),
  );
});

test("what SiLU makes of large numbers is finite", () =>
  scope(() => {
    const layer = norm(1, 16);
    const x = channelsLast(randn([1, 16, 4, 4], { generator: new Generator(1) }));
    noGrad(() => layer.weight.fill_(1000));
    x.requiresGrad = true;
    const y = layer.forwardSilu(x);
    y.sum().backward();
    expect(y.toNumbers().every(Number.isFinite)).toBe(true);
    expect(y.amin().item()).toBeGreaterThan(-0.3);
    expect((x.grad as Tensor).toNumbers().every(Number.isFinite)).toBe(true);
  }));

test("a kernel is used, and gives other bits than libtorch, where channels come last; elsewhere libtorch is", () =>
  scope(() => {
    const layer = norm(4, 32);
    const x = randn([2, 32, 5, 5], { generator: new Generator(1) });
    const bits = (input: Tensor, kernels: "libtorch" | "plain"): number[] => {
      native.kernels(kernels);
      return noGrad(() => layer.forwardSilu(input)).toNumbers();
    };
    expect(bits(channelsLast(x), "plain")).not.toEqual(bits(channelsLast(x), "libtorch"));
    const others = [x, channelsLast(x).narrow(1, 0, 32).transpose(2, 3), x.flatten(2), x.narrow(0, 1, 0)];
    for (const input of others) expect(bits(input, "plain")).toEqual(bits(input, "libtorch"));
    for (const dtype of ["float64", "float16"] as const) {
      layer.to({ dtype });
      const input = channelsLast(x).to({ dtype });
      expect(bits(input, "plain")).toEqual(bits(input, "libtorch"));
    }
  }));

test("the weights of a bfloat16 map may be float32", () =>
  scope(() => {
    const layer = norm(4, 32).requiresGrad_();
    const x = channelsLast(randn([2, 32, 5, 5], { generator: new Generator(1) }));
    const run = (input: Tensor): Tensor => layer.forwardSilu(input);
    const y = run(x.to({ dtype: "bfloat16" }));
    expect(y.dtype).toBe("bfloat16");
    expect(error(y.to({ dtype: "float32" }).toNumbers(), run(x).toNumbers())).toBeLessThan(1e-2);
    y.sum().backward();
    expect([layer.weight.grad?.dtype, layer.bias.grad?.dtype]).toEqual(["float32", "float32"]);
  }));

test.each(["weight", "bias"] as const)(
  "x and %s have the same gradients where the other does not learn",
  (other) =>
    scope(() => {
      const layer = norm(4, 32);
      const x = channelsLast(randn([2, 32, 5, 5], { generator: new Generator(1) }));
      x.requiresGrad = true;
      const gradients = (of: Tensor[]): number[][] => {
        for (const leaf of of) leaf.requiresGrad = true;
        return (grad([layer.forwardSilu(x).square().sum()], of) as Tensor[]).map((t) => t.toNumbers());
      };
      const [alone] = gradients([x]);
      const one = gradients([x, layer[other]]);
      expect(one[0]).toEqual(alone);
      const all = gradients([x, layer.weight, layer.bias]);
      expect(one).toEqual([all[0], all[other === "weight" ? 1 : 2]]);
    }),
);

test("the gradient has a gradient", () =>
  scope(() => {
    const second = (kernels: typeof initial): number[] =>
      scope(() => {
        native.kernels(kernels);
        const layer = norm(2, 8);
        const x = channelsLast(randn([2, 8, 3, 3], { generator: new Generator(1) }));
        x.requiresGrad = true;
        const [first] = grad([layer.forwardSilu(x).square().sum()], [x], { createGraph: true }) as [Tensor];
        const [found] = grad([first.square().sum()], [x]) as [Tensor];
        return found.toNumbers();
      });
    expect(error(second("plain"), second("libtorch"))).toBeLessThan(1e-5);
  }));

test("a checkpoint computes the same bits again", () =>
  scope(() => {
    const layer = norm(2, 16).requiresGrad_();
    const gradients = (run: (x: Tensor) => Tensor): number[][] =>
      scope(() => {
        const x = channelsLast(randn([2, 16, 4, 4], { generator: new Generator(1) }));
        x.requiresGrad = true;
        run(x).square().sum().backward();
        const found = [x.grad, layer.weight.grad, layer.bias.grad].map((t) => (t as Tensor).toNumbers());
        for (const parameter of layer.parameters()) parameter.grad = undefined;
        return found;
      });
    const body = (x: Tensor): Tensor => scope(() => layer.forwardSilu(layer.forwardSilu(x)));
    expect(gradients((x) => checkpoint(body, [x]))).toEqual(gradients(body));
  }));

test("another name than a set of instructions is refused", () => {
  expect(() => native.kernels("sse9" as "plain")).toThrow(
    "SPO_KERNELS must be libtorch, plain, avx2 or avx512, not sse9",
  );
});

test("a wrong argument is named", () => {
  expect(() => new GroupNorm(1, 4).forward(3 as unknown as Tensor)).toThrow(
    "GroupNorm: argument 'x' must be a Tensor",
  );
  expect(() => scope(() => new GroupNorm(3, 4).forward(tensor([1, 2, 3, 4]).view([1, 4, 1, 1])))).toThrow();
});
