// Attention's kernels of the addon, against the same in float64 by libtorch.
import { native } from "@spo/native";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { Generator } from "./generator.js";
import { getThreads, grad, noGrad, setThreads } from "./modes.js";
import { scaledDotProductAttention } from "./ops.gen.js";
import { randn } from "./random.js";
import { scope } from "./scope.js";
import { type Tensor, tensor } from "./tensor.js";

const SETS = ["plain", "avx2", "avx512"] as const;
type Kernels = (typeof SETS)[number] | "libtorch";
const initial = native.kernels() as Kernels;
const products = native.products() as "mkl" | "onednn";
const threads = getThreads();
afterEach(() => {
  native.kernels(initial);
  native.products(products);
  setThreads(threads);
});

interface Problem {
  samples: number;
  heads: number;
  queries: number;
  keys: number;
  dims: number;
  /** Of queries, in standard deviations: how peaked the weights are. */
  size?: number;
  options?: { scale?: number };
}

/** As a model has them: tokens first, each with its heads side by side. */
const heads = (x: Tensor): Tensor => x.transpose(1, 2);

function inputs({ samples, heads: count, queries, keys, dims, size = 1 }: Problem): Tensor[] {
  const draw = (n: number, seed: number): Tensor =>
    randn([samples, n, count, dims], { generator: new Generator(seed) });
  return [draw(queries, 1).mul(size), draw(keys, 2), draw(keys, 3), draw(queries, 4)];
}

/** The result and the gradients of query, key and value. */
function solve(problem: Problem, kernels: "float64" | Kernels): number[][] {
  return scope(() => {
    const [query, key, value, along] = inputs(problem).map((x) =>
      kernels === "float64" ? x.to({ dtype: "float64" }) : x,
    ) as [Tensor, Tensor, Tensor, Tensor];
    if (kernels !== "float64") native.kernels(kernels);
    const leaves = [query, key, value];
    for (const leaf of leaves) leaf.requiresGrad = true;
    const [q, k, v] = leaves.map(heads) as [Tensor, Tensor, Tensor];
    const out = scaledDotProductAttention(q, k, v, null, 0, false, problem.options);
    const gradients = grad([out], leaves, { gradients: [heads(along)] }) as Tensor[];
    return [out, ...gradients].map((x) => x.toNumbers());
  });
}

/** Largest difference, as a part of the largest number there. */
function error(found: readonly number[], truth: readonly number[]): number {
  expect(found.length).toBe(truth.length);
  const largest = truth.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-3);
  return found.reduce((most, v, i) => Math.max(most, Math.abs(v - (truth[i] as number))), 0) / largest;
}

function expectTruth(problem: Problem, kernels: Kernels, tolerance: number): void {
  const truth = solve(problem, "float64");
  for (const [i, found] of solve(problem, kernels).entries())
    expect(error(found, truth[i] as number[]), `${JSON.stringify(problem)}, ${i}`).toBeLessThan(tolerance);
}

describe.each(SETS)("with %s instructions", (kernels) => {
  test("result and gradients are those of float64", () => {
    expectTruth({ samples: 2, heads: 3, queries: 70, keys: 77, dims: 8 }, kernels, 2e-6);
    expectTruth({ samples: 1, heads: 2, queries: 64, keys: 1100, dims: 16 }, kernels, 2e-6); // several blocks of keys
    expectTruth(
      { samples: 1, heads: 1, queries: 65, keys: 33, dims: 12, options: { scale: 0.1 } },
      kernels,
      2e-6,
    );
  });

  test("of wide heads, over several blocks of keys too", () => {
    native.products("onednn"); // with which wide heads are the addon's too
    expectTruth({ samples: 1, heads: 2, queries: 150, keys: 530, dims: 40 }, kernels, 2e-6);
    expectTruth({ samples: 1, heads: 1, queries: 33, keys: 70, dims: 160 }, kernels, 2e-6);
    expectTruth({ samples: 1, heads: 1, queries: 32, keys: 40, dims: 512 }, kernels, 2e-6);
  });

  test("of any shape", () => {
    const sizes = fc.record({
      samples: fc.integer({ min: 1, max: 2 }),
      heads: fc.integer({ min: 1, max: 3 }),
      queries: fc.integer({ min: 64, max: 80 }),
      keys: fc.integer({ min: 1, max: 70 }),
      dims: fc.integer({ min: 1, max: 16 }),
    });
    fc.assert(
      fc.property(sizes, (problem) => expectTruth(problem, kernels, 1e-5)),
      { numRuns: 12, seed: 17 },
    );
  });

  test("weights of nearly one key alone are as exact as the scores, over several blocks too", () => {
    expectTruth({ samples: 1, heads: 1, queries: 64, keys: 1100, dims: 8, size: 100 }, kernels, 1e-4);
  });

  test("a sample's bits depend on no other, nor on the number of threads", () => {
    const problem = { samples: 3, heads: 2, queries: 66, keys: 40, dims: 12 };
    setThreads(1);
    const alone = solve(problem, kernels);
    setThreads(2);
    expect(solve(problem, kernels)).toEqual(alone);
    const parts = scope(() => {
      native.kernels(kernels);
      const [q, k, v] = inputs(problem).map(heads) as [Tensor, Tensor, Tensor, Tensor];
      return [0, 1, 2].flatMap((i) => {
        const [query, key, value] = [q, k, v].map((x) => x.narrow(0, i, 1)) as [Tensor, Tensor, Tensor];
        return scaledDotProductAttention(query, key, value).toNumbers();
      });
    });
    expect(parts).toEqual(alone[0]);
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY])("%s of a query stays with that query", (value) =>
    scope(() => {
      native.kernels(kernels);
      const [q, k, v] = inputs({ samples: 1, heads: 1, queries: 64, keys: 5, dims: 4 }).map(heads) as [
        Tensor,
        Tensor,
        Tensor,
        Tensor,
      ];
      noGrad(() => q.select(2, 1).fill_(value));
      const rows = scaledDotProductAttention(q, k, v).isfinite().all(-1).flatten();
      expect(rows.to({ dtype: "float32" }).toNumbers()).toEqual(
        Array.from({ length: 64 }, (_, i) => (i === 1 ? 0 : 1)),
      );
    }),
  );
});

test("backward is a kernel's too, of narrow heads and of wide ones", () => {
  const narrow = { samples: 1, heads: 2, queries: 64, keys: 30, dims: 8 };
  const wide = { samples: 1, heads: 2, queries: 64, keys: 30, dims: 40 };
  const gradients = (problem: Problem, kernels: Kernels): number[][] => solve(problem, kernels).slice(1);
  for (const by of ["mkl", "onednn"] as const) {
    native.products(by);
    for (const problem of by === "mkl" ? [narrow] : [narrow, wide]) {
      const [ours, theirs] = [gradients(problem, "plain"), gradients(problem, "libtorch")];
      for (const [i, gradient] of ours.entries()) expect(gradient, `${by}, ${i}`).not.toEqual(theirs[i]);
    }
  }
  native.products("mkl");
  expect(solve(wide, "plain")).toEqual(solve(wide, "libtorch"));
});

test("a kernel is used, and gives other bits than libtorch; what it does not take is libtorch's", () =>
  scope(() => {
    native.products("mkl");
    const [q, k, v] = inputs({ samples: 1, heads: 2, queries: 64, keys: 30, dims: 8 }).map(heads) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ];
    const bits = (kernels: Kernels, run: () => Tensor): number[] => {
      native.kernels(kernels);
      return noGrad(run).toNumbers();
    };
    const both = (run: () => Tensor): number[][] => [bits("plain", run), bits("libtorch", run)];
    const [ours, theirs] = both(() => scaledDotProductAttention(q, k, v));
    expect(ours).not.toEqual(theirs);
    const mask = tensor(Array.from({ length: 30 }, (_, i) => (i < 20 ? 0 : -1)));
    for (const run of [
      () => scaledDotProductAttention(q, k, v, mask.expand([64, 30])),
      () => scaledDotProductAttention(q, k, v, null, 0, true),
      () => scaledDotProductAttention(q, k, v.narrow(3, 0, 4)),
      () => scaledDotProductAttention(q.narrow(2, 0, 30), k, v), // few queries
      ...(["float64", "float16", "bfloat16"] as const).map((dtype) => () => {
        const [a, b, c] = [q, k, v].map((x) => x.to({ dtype })) as [Tensor, Tensor, Tensor];
        return scaledDotProductAttention(a, b, c);
      }),
    ]) {
      const [found, expected] = both(run);
      expect(found).toEqual(expected);
    }
  }));

test("of bfloat16 result and gradients are those of float32, rounded, where products are oneDNN's", () =>
  scope(() => {
    native.products("onednn");
    const all = inputs({ samples: 2, heads: 2, queries: 70, keys: 90, dims: 40 }).map((x) =>
      x.to({ dtype: "bfloat16" }),
    );
    const solved = (dtype: "bfloat16" | "float32", kernels: Kernels): Tensor[] => {
      native.kernels(kernels);
      const [query, key, value, along] = all.map((x) => x.to({ dtype }).detach()) as [
        Tensor,
        Tensor,
        Tensor,
        Tensor,
      ];
      const leaves = [query, key, value];
      for (const leaf of leaves) leaf.requiresGrad = true;
      const [q, k, v] = leaves.map(heads) as [Tensor, Tensor, Tensor];
      const out = scaledDotProductAttention(q, k, v);
      return [out, ...(grad([out], leaves, { gradients: [heads(along)] }) as Tensor[])];
    };
    const [found, truth, theirs] = [
      solved("bfloat16", "plain"),
      solved("float32", "libtorch"),
      solved("bfloat16", "libtorch"),
    ].map((tensors) => tensors.map((x) => x.to({ dtype: "float32" }).toNumbers())) as [
      number[][],
      number[][],
      number[][],
    ];
    for (const [i, numbers] of found.entries()) {
      const mistake = error(numbers, truth[i] as number[]);
      expect(mistake, `${i}`).toBeLessThan(2 ** -8);
      expect(mistake, `${i}`).toBeLessThan(1.5 * error(theirs[i] as number[], truth[i] as number[]));
    }
    expect(solved("bfloat16", "plain").map((x) => x.dtype)).toEqual(Array(4).fill("bfloat16"));
  }));

test("a gradient that was spread out from one number is read as it is", () =>
  scope(() => {
    const of = (kernels: Kernels): number[] =>
      scope(() => {
        native.kernels(kernels);
        const [q, k, v] = inputs({ samples: 1, heads: 1, queries: 64, keys: 6, dims: 8 }) as [
          Tensor,
          Tensor,
          Tensor,
          Tensor,
        ];
        q.requiresGrad = true;
        return (
          grad([scaledDotProductAttention(heads(q), heads(k), heads(v)).sum()], [q])[0] as Tensor
        ).toNumbers();
      });
    expect(error(of("plain"), of("libtorch"))).toBeLessThan(1e-5);
  }));
