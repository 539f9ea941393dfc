// The addon's convolution 3×3 by Winograd's algorithm, against the same in float64 by libtorch.
import { native } from "@spo/native";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { Generator } from "../generator.js";
import { getThreads, grad, inferenceMode, noGrad, setThreads } from "../modes.js";
import { conv2d, upsampleNearest2d } from "../ops.gen.js";
import { randn } from "../random.js";
import { scope } from "../scope.js";
import { type Tensor, tensor } from "../tensor.js";
import { Conv2d } from "./layers.js";

const SETS = ["plain", "avx2", "avx512"] as const;
type Kernels = (typeof SETS)[number] | "libtorch";
const initial = native.kernels() as Kernels;
const threads = getThreads();
afterEach(() => {
  native.kernels(initial);
  setThreads(threads);
});

interface Problem {
  shape: readonly [samples: number, channels: number, height: number, width: number];
  results: number;
  biased?: boolean;
  /** Of the kernel; default 3. */
  side?: 1 | 3;
  /** x is doubled by repetition before. */
  doubled?: boolean;
  /** The order of the weights in memory: as layers keep them on a CPU, or as files do. */
  order?: "channels_last" | "contiguous";
}

const channelsLast = (x: Tensor): Tensor => x.contiguous({ memoryFormat: "channels_last" });

function inputs({
  shape,
  results,
  side = 3,
  doubled = false,
  order = "channels_last",
}: Problem): [Tensor, Tensor, Tensor, Tensor] {
  const draw = (size: readonly number[], seed: number): Tensor =>
    randn(size, { generator: new Generator(seed) });
  const [samples, channels, height, width] = shape;
  const times = doubled ? 2 : 1;
  return [
    channelsLast(draw(shape, 1)),
    draw([results, channels, side, side], 2).contiguous({ memoryFormat: order }),
    tensor(Array.from({ length: results }, (_, i) => i / results - 0.3)),
    channelsLast(draw([samples, results, times * height, times * width], 4)),
  ];
}

/** As a layer does it. */
function convolve({ doubled, side = 3 }: Problem, x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  if (!doubled) return conv2d(x, weight, bias, 1, side === 3 ? 1 : 0);
  const [, , height, width] = x.shape as [number, number, number, number];
  if (x.dtype === "float64") return conv2d(upsampleNearest2d(x, [2 * height, 2 * width]), weight, bias, 1, 1);
  const layer = new Conv2d(1, 1, 3, { padding: 1 });
  return Object.assign(layer, { weight, bias }).forwardDoubled(x);
}

/** The result and the gradients of x, weight and bias. */
function solve(problem: Problem, kernels: "float64" | Kernels): number[][] {
  return scope(() => {
    const [x, weight, bias, along] = inputs(problem).map((t) =>
      kernels === "float64" ? t.to({ dtype: "float64" }) : t,
    ) as [Tensor, Tensor, Tensor, Tensor];
    if (kernels !== "float64") native.kernels(kernels);
    const leaves = problem.biased === false ? [x, weight] : [x, weight, bias];
    for (const leaf of leaves) leaf.requiresGrad = true;
    const y = convolve(problem, x, weight, leaves[2]);
    const gradients = grad([y], leaves, { gradients: [along] }) as Tensor[];
    return [y, ...gradients].map((t) => t.toNumbers());
  });
}

/** Largest difference, as a part of the largest number there. */
function error(found: readonly number[], truth: readonly number[]): number {
  expect(found.length).toBe(truth.length);
  const largest = truth.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-3);
  return found.reduce((most, v, i) => Math.max(most, Math.abs(v - (truth[i] as number))), 0) / largest;
}

/** most: of the error, which grows with the channels that are summed. */
function expectTruth(problem: Problem, kernels: Kernels, most = 2e-6): void {
  const truth = solve(problem, "float64");
  for (const [i, found] of solve(problem, kernels).entries())
    expect(error(found, truth[i] as number[]), `${JSON.stringify(problem)}, ${i}`).toBeLessThan(most);
}

describe.each(SETS)("with %s instructions", (kernels) => {
  test("result and gradients are those of float64", () => {
    expectTruth({ shape: [2, 16, 8, 8], results: 48 }, kernels);
    expectTruth({ shape: [1, 32, 9, 11], results: 16, biased: false }, kernels); // tiles that reach beyond the map
    expectTruth({ shape: [1, 16, 34, 30], results: 3, order: "contiguous" }, kernels); // several pieces
    expectTruth({ shape: [2, 16, 8, 9], results: 20, doubled: true }, kernels);
    expectTruth({ shape: [1, 64, 4, 4], results: 32 }, kernels); // fewer pixels than channels
    expectTruth({ shape: [3, 20, 5, 7], results: 33, side: 1 }, kernels);
    expectTruth({ shape: [1, 4, 9, 2], results: 3, side: 1, biased: false, order: "contiguous" }, kernels);
  });

  test("the gradient of the kernel alone, of many tiles and of few channels, whatever the number of threads", () => {
    const problem = { shape: [7, 16, 21, 22], results: 112 } as const;
    const ofKernel = (run: "float64" | Kernels): number[] =>
      scope(() => {
        const [x, weight, , along] = inputs(problem).map((t) =>
          run === "float64" ? t.to({ dtype: run }) : t,
        ) as [Tensor, Tensor, Tensor, Tensor];
        if (run !== "float64") native.kernels(run);
        weight.requiresGrad = true;
        const [found] = grad([conv2d(x, weight, null, 1, 1)], [weight], { gradients: [along] });
        return (found as Tensor).toNumbers();
      });
    setThreads(1);
    const alone = ofKernel(kernels);
    expect(error(alone, ofKernel("float64"))).toBeLessThan(3e-6);
    setThreads(2);
    expect(ofKernel(kernels)).toEqual(alone);
  });

  test.each([
    { shape: [1, 704, 8, 8], results: 520 },
    { shape: [1, 704, 20, 20], results: 232 }, // tiles of 4×4 results
  ] as const)("of weights that are used part by part, whatever the number of threads: $shape", (problem) => {
    setThreads(1);
    expectTruth(problem, kernels, 1e-5);
    const [alone] = solve(problem, kernels);
    setThreads(2);
    expect(solve(problem, kernels)[0]).toEqual(alone);
  });

  test("of any shape", () => {
    const problems = fc.record({
      shape: fc.tuple(
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 3 }).map((n) => 16 * n),
        fc.integer({ min: 4, max: 13 }),
        fc.integer({ min: 4, max: 13 }),
      ),
      results: fc.integer({ min: 1, max: 70 }),
      biased: fc.boolean(),
      doubled: fc.boolean(),
      order: fc.constantFrom("channels_last", "contiguous"),
    });
    fc.assert(
      fc.property(problems, (problem) => expectTruth(problem, kernels)),
      { numRuns: 12, seed: 17 },
    );
  });

  test.each([false, true])(
    "a sample's bits depend on no other, nor on the number of threads (doubled: %s)",
    (doubled) => {
      const problem = { shape: [3, 16, 9, 9], results: 32, doubled } as const;
      setThreads(1);
      const alone = solve(problem, kernels);
      setThreads(2);
      const both = solve(problem, kernels);
      expect([both[0], both[1]]).toEqual([alone[0], alone[1]]);
      const parts = scope(() => {
        native.kernels(kernels);
        const [x, weight, bias] = inputs(problem);
        return [0, 1, 2].flatMap((i) =>
          noGrad(() => convolve(problem, x.narrow(0, i, 1), weight, bias)).toNumbers(),
        );
      });
      expect(parts).toEqual(alone[0]);
    },
  );

  test.each([Number.NaN, Number.POSITIVE_INFINITY])(
    "%s of a pixel reaches all results beside it, and none of another sample",
    (value) =>
      scope(() => {
        native.kernels(kernels);
        const [x, weight, bias] = inputs({ shape: [2, 16, 8, 8], results: 16 });
        noGrad(() => x.narrow(0, 1, 1).narrow(2, 4, 1).narrow(3, 4, 1).fill_(value));
        const finite = noGrad(() => conv2d(x, weight, bias, 1, 1)).isfinite();
        const beside = finite.narrow(0, 1, 1).narrow(2, 3, 3).narrow(3, 3, 3);
        expect([finite.narrow(0, 0, 1).all().item(), beside.any().item()]).toEqual([1, 0]);
      }),
  );
});

test("a kernel is used, and gives other bits than libtorch; what it does not take is libtorch's", () =>
  scope(() => {
    const [x, weight, bias] = inputs({ shape: [1, 32, 8, 8], results: 32 });
    const large = randn([2112, 32, 3, 3]).contiguous({ memoryFormat: "channels_last" });
    const both = (run: () => Tensor): number[][] =>
      (["plain", "libtorch"] as const).map((kernels) => {
        native.kernels(kernels);
        return noGrad(run).toNumbers();
      });
    const [ours, theirs] = both(() => conv2d(x, weight, bias, 1, 1));
    expect(ours).not.toEqual(theirs);
    for (const run of [
      () => conv2d(x.contiguous(), weight, bias, 1, 1),
      () => conv2d(x, weight, bias, 2, 1),
      () => conv2d(x, weight, bias, 1, 0),
      () => conv2d(x, weight, bias, 1, 1, 2),
      () => conv2d(x, weight.narrow(1, 0, 16), bias, 1, 1, 1, 2),
      () => conv2d(x, weight.narrow(2, 0, 1), bias, 1, 1),
      () => conv2d(x.narrow(2, 0, 3).narrow(3, 0, 5), weight, bias, 1, 1), // a small map
      () => conv2d(x.narrow(2, 0, 7), large, null, 1, 1), // a map that is small for such weights
      () => conv2d(channelsLast(x.narrow(1, 0, 6)), channelsLast(weight.narrow(1, 0, 6)), bias, 1, 1),
      ...(["float64", "bfloat16"] as const).map((dtype) => () => {
        const [a, b, c] = [x, weight, bias].map((t) => t.to({ dtype })) as [Tensor, Tensor, Tensor];
        return conv2d(a, b, c, 1, 1);
      }),
    ]) {
      const [found, expected] = both(run);
      expect(found).toEqual(expected);
    }
  }));

describe("transformed weights are kept, and made anew", () => {
  /** What the kernel gives now, and whether that is of the weights as they are. */
  function expectOfNow(x: Tensor, weight: Tensor): void {
    native.kernels("plain");
    const found = noGrad(() => conv2d(x, weight, null, 1, 1)).toNumbers();
    native.kernels("libtorch");
    expect(error(found, noGrad(() => conv2d(x, weight, null, 1, 1)).toNumbers())).toBeLessThan(2e-6);
  }

  // Kept at the second use, asked for at the third.
  const expectOfNowThrice = (x: Tensor, weight: Tensor): void => {
    for (let i = 0; i < 3; i++) expectOfNow(x, weight);
  };

  test.each<[string, (weight: Tensor) => void]>([
    ["an operator writes to them", (weight) => noGrad(() => void weight.mul_(2))],
    ["one does so in inference mode", (weight) => inferenceMode(() => void weight.mul_(2))],
    ["one writes to a view of them", (weight) => noGrad(() => void weight.narrow(0, 3, 1).fill_(5))],
    ["they get other memory", (weight) => weight.assign(weight.mul(2))],
  ])("where %s", (_, change) =>
    scope(() => {
      const [x, weight] = inputs({ shape: [1, 16, 8, 8], results: 16 });
      expectOfNowThrice(x, weight);
      change(weight);
      expectOfNowThrice(x, weight);
    }),
  );

  test("where an array of JavaScript shares their memory", () =>
    scope(() => {
      const [x] = inputs({ shape: [1, 16, 8, 8], results: 16 });
      const weight = randn([16, 16, 3, 3]);
      expectOfNowThrice(x, weight);
      const view = new Float32Array(native.view(weight.handle));
      expectOfNow(x, weight);
      view.fill(0.25);
      expectOfNow(x, weight);
    }));

  test("where others lie in the memory of some that are gone", () => {
    const x = inputs({ shape: [1, 16, 8, 8], results: 16 })[0];
    for (let seed = 0; seed < 8; seed++)
      scope(() => expectOfNowThrice(x, randn([16, 16, 3, 3], { generator: new Generator(seed) })));
    x.dispose();
  });
});

test.each([false, true])("the gradient has a gradient (doubled: %s)", (doubled) => {
  const problem = { shape: [1, 16, 8, 8], results: 16, doubled } as const;
  const second = (kernels: Kernels): number[] =>
    scope(() => {
      native.kernels(kernels);
      const [x, weight, bias] = inputs(problem);
      for (const leaf of [x, weight]) leaf.requiresGrad = true;
      const [first] = grad([convolve(problem, x, weight, bias).square().sum()], [x], {
        createGraph: true,
      }) as [Tensor];
      const [found] = grad([first.square().sum()], [weight]) as [Tensor];
      return found.toNumbers();
    });
  expect(error(second("plain"), second("libtorch"))).toBeLessThan(1e-5);
});
