// GEGLU's kernels of the addon, against the same in float64 by libtorch.
import { native } from "@spo/native";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { Generator } from "../generator.js";
import { getThreads, grad, noGrad, setThreads } from "../modes.js";
import { cat, gelu } from "../ops.gen.js";
import { randn } from "../random.js";
import { scope } from "../scope.js";
import { type Tensor, tensor } from "../tensor.js";
import { geglu } from "./geglu.js";

const SETS = ["plain", "avx2", "avx512"] as const;
type Kernels = (typeof SETS)[number] | "libtorch";
const initial = native.kernels() as Kernels;
const threads = getThreads();
afterEach(() => {
  native.kernels(initial);
  setThreads(threads);
});

const byDefinition = (x: Tensor): Tensor => {
  const [value, gate] = x.chunk(2, -1) as [Tensor, Tensor];
  return value.mul(gelu(gate));
};

/** The result and the gradient of x, numbers of `shape`, of standard deviation 3. */
function solve(
  shape: readonly number[],
  run: (x: Tensor) => Tensor,
  dtype = "float32" as "bfloat16" | "float32" | "float64",
) {
  return scope(() => {
    const draw = (of: readonly number[], seed: number): Tensor =>
      randn(of, { generator: new Generator(seed) })
        .mul(3)
        .to({ dtype: "bfloat16" }) // numbers that all dtypes have
        .to({ dtype });
    const x = draw(shape, 1);
    x.requiresGrad = true;
    const y = run(x);
    const [dx] = grad([y], [x], { gradients: [draw(y.shape, 2)] }) as [Tensor];
    return [y, dx].map((t) => t.toNumbers());
  });
}

/** Largest difference, as a part of the largest number there. */
function error(found: readonly number[], truth: readonly number[]): number {
  expect(found.length).toBe(truth.length);
  const largest = truth.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-3);
  return found.reduce((most, v, i) => Math.max(most, Math.abs(v - (truth[i] as number))), 0) / largest;
}

describe.each(SETS)("with %s instructions", (kernels) => {
  test("result and gradient are those of float64, of any shape", () => {
    const shapes = fc.tuple(
      fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 3 }),
      fc.integer({ min: 1, max: 70 }),
    );
    fc.assert(
      fc.property(shapes, ([rows, width]) => {
        native.kernels(kernels);
        const shape = [...rows, 2 * width];
        const truth = solve(shape, byDefinition, "float64");
        for (const [i, found] of solve(shape, geglu).entries())
          expect(error(found, truth[i] as number[]), `${i}`).toBeLessThan(1e-6);
      }),
      { numRuns: 25, seed: 17 },
    );
  });

  test("in bfloat16 result and gradient are those of float32, rounded once", () => {
    native.kernels(kernels);
    for (const shape of [
      [3, 2 * 4],
      [2, 5, 2 * 23],
      [7, 2 * 64],
    ]) {
      const exact = scope(() =>
        solve(shape, geglu).map((v) => tensor(v).to({ dtype: "bfloat16" }).toNumbers()),
      );
      expect(solve(shape, geglu, "bfloat16")).toEqual(exact);
    }
  });

  test("GELU is that of float64 at every gate, to 4e-7 of the gate or of 1", () =>
    scope(() => {
      native.kernels(kernels);
      const gates = tensor(Array.from({ length: 4004 }, (_, i) => (i - 2002) / 125)).unflatten(0, [-1, 4]);
      const found = noGrad(() => geglu(cat([gates.mul(0).add(1), gates], 1)));
      const exact = noGrad(() => gelu(gates.to({ dtype: "float64" })));
      const apart = found.sub(exact).abs().div(gates.abs().clamp(1));
      expect(apart.amax().item()).toBeLessThan(4e-7);
    }));

  test("as many threads as there are give the same bits", () => {
    native.kernels(kernels);
    setThreads(1);
    const alone = solve([3, 300, 128], geglu);
    setThreads(2);
    expect(solve([3, 300, 128], geglu)).toEqual(alone);
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    "%s comes through where it does in libtorch",
    (value) =>
      scope(() => {
        for (const [place, dtype] of [
          [1, "float32"],
          [6, "float32"],
          [1, "bfloat16"],
          [6, "bfloat16"],
        ] as const) {
          const x = tensor([1, 2, 3, 4, 5, 6, 7, 8]).to({ dtype });
          noGrad(() => x.narrow(0, place, 1).fill_(value));
          const finite = (of: Kernels): boolean[][] => {
            native.kernels(of);
            return solveAt(x).map((numbers) => numbers.map(Number.isFinite));
          };
          expect(finite(kernels)).toEqual(finite("libtorch"));
        }
      }),
  );
});

/** The result, and the gradient of its sum. */
function solveAt(numbers: Tensor): number[][] {
  return scope(() => {
    const x = numbers.clone();
    x.requiresGrad = true;
    const y = geglu(x);
    return [y, grad([y.sum()], [x])[0] as Tensor].map((t) => t.toNumbers());
  });
}

test("where there is no kernel the bits are libtorch's", () =>
  scope(() => {
    const x = randn([4, 16], { generator: new Generator(1) });
    const bits = (input: Tensor): number[] => noGrad(() => geglu(input)).toNumbers();
    expect(bits(x)).not.toEqual(noGrad(() => byDefinition(x)).toNumbers());
    const others = [
      x.to({ dtype: "float16" }),
      x.to({ dtype: "float64" }),
      x.transpose(0, 1),
      x.narrow(1, 0, 6),
    ];
    for (const input of others) expect(bits(input)).toEqual(noGrad(() => byDefinition(input)).toNumbers());
  }));

test("the gradient has a gradient", () =>
  scope(() => {
    const second = (run: (x: Tensor) => Tensor): number[] =>
      scope(() => {
        const x = randn([3, 16], { generator: new Generator(1) });
        x.requiresGrad = true;
        const [first] = grad([run(x).square().sum()], [x], { createGraph: true }) as [Tensor];
        return (grad([first.square().sum()], [x])[0] as Tensor).toNumbers();
      });
    expect(error(second(geglu), second(byDefinition))).toBeLessThan(1e-5);
  }));

test("a wrong argument is named", () => {
  expect(() => geglu(3 as unknown as Tensor)).toThrow("geglu: argument 'x' must be a Tensor");
});
