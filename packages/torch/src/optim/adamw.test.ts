import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  AdamW,
  Conv2d,
  clipGradNorm,
  Generator,
  keep,
  liveTensors,
  loadWeights,
  ones,
  randn,
  scope,
  type Tensor,
  tensor,
  zeros,
} from "../index.js";

interface Settings {
  lr: number;
  betas: readonly [number, number];
  eps: number;
  weightDecay: number;
  maxNorm: number;
}

/** Clipping and AdamW as written in algorithm.md, section 7, in float64. gradients[s][i][k] of step s, parameter i, element k. */
function reference(
  start: readonly number[][],
  gradients: readonly number[][][],
  { lr, betas, eps, weightDecay, maxNorm }: Settings,
): number[][] {
  const [b1, b2] = betas;
  const p = start.map((values) => [...values]);
  const m = start.map((values) => values.map(() => 0));
  const v = start.map((values) => values.map(() => 0));
  for (const [index, step] of gradients.entries()) {
    const s = index + 1;
    const norm = Math.sqrt(step.flat().reduce((sum, g) => sum + g * g, 0));
    const coef = Math.min(1, maxNorm / (norm + 1e-6));
    for (const [i, values] of p.entries())
      for (const k of values.keys()) {
        const g = coef * ((step[i] as number[])[k] as number);
        const [mi, vi] = [m[i] as number[], v[i] as number[]];
        let value = (values[k] as number) * (1 - lr * weightDecay);
        mi[k] = b1 * (mi[k] as number) + (1 - b1) * g;
        vi[k] = b2 * (vi[k] as number) + (1 - b2) * g * g;
        value -=
          (lr * ((mi[k] as number) / (1 - b1 ** s))) / (Math.sqrt((vi[k] as number) / (1 - b2 ** s)) + eps);
        values[k] = value;
      }
  }
  return p;
}

const drawn = (shape: readonly number[], seed: number): number[] =>
  scope(() => randn(shape, { generator: new Generator(seed), dtype: "float64" }).toNumbers());

describe("AdamW with clipping", () => {
  const settings = fc.record({
    lr: fc.double({ min: 1e-5, max: 0.1, noNaN: true }),
    betas: fc.tuple(
      fc.double({ min: 0, max: 0.95, noNaN: true }),
      fc.double({ min: 0.5, max: 0.9999, noNaN: true }),
    ),
    eps: fc.constantFrom(1e-8, 1e-4),
    weightDecay: fc.constantFrom(0, 1e-4, 0.3),
    maxNorm: fc.constantFrom(0.5, 1, Number.POSITIVE_INFINITY),
    seed: fc.nat(1000),
  });

  test("is the formula of the method, step by step, for any settings", () => {
    fc.assert(
      fc.property(settings, ({ seed, maxNorm, ...options }) =>
        scope(() => {
          const shapes = [[3, 2], [5]];
          const start = shapes.map((shape, i) => drawn(shape, seed + i));
          const gradients = Array.from({ length: 4 }, (_, s) =>
            shapes.map((shape, i) => drawn(shape, 7 * seed + 10 * s + i)),
          );
          const parameters = shapes.map((shape, i) =>
            tensor(start[i] as number[], { dtype: "float64" }).reshape(shape),
          );
          const optimizer = new AdamW(parameters, options);
          for (const step of gradients) {
            for (const [i, parameter] of parameters.entries())
              parameter.grad = tensor(step[i] as number[], { dtype: "float64" }).reshape(parameter.shape);
            const norm = clipGradNorm(parameters, maxNorm);
            expect(norm).toBeCloseTo(Math.sqrt(step.flat().reduce((sum, g) => sum + g * g, 0)), 9);
            optimizer.step();
            optimizer.zeroGrad();
          }
          const expected = reference(start, gradients, { ...options, maxNorm });
          for (const [i, parameter] of parameters.entries())
            for (const [k, value] of parameter.toNumbers().entries())
              expect(Math.abs(value - ((expected[i] as number[])[k] as number))).toBeLessThan(1e-6);
          optimizer.dispose();
        }),
      ),
      { numRuns: 25 },
    );
  });
});

describe("AdamW", () => {
  test("leaves parameters without a gradient alone, weight decay included", () =>
    scope(() => {
      const [a, b] = [ones([2]), ones([2])];
      const optimizer = new AdamW([a, b], { lr: 0.1, weightDecay: 0.5 });
      a.grad = ones([2]);
      optimizer.step();
      expect(a.toNumbers()).not.toEqual([1, 1]);
      expect(b.toNumbers()).toEqual([1, 1]);
      expect(optimizer.state().get("step.1")?.item()).toBe(0);
      optimizer.dispose();
    }));

  test("goes on to the same bits from a saved state", () =>
    scope(() => {
      const run = (resume: boolean): number[] => {
        let parameter = tensor(drawn([8], 1));
        let optimizer = new AdamW([parameter], { lr: 0.01 });
        for (let step = 0; step < 6; step++) {
          if (resume && step === 3) {
            const saved = new Map([...optimizer.state()].map(([name, value]) => [name, value.clone()]));
            parameter = parameter.clone();
            optimizer.dispose();
            optimizer = new AdamW([parameter], { lr: 0.01 });
            optimizer.loadState(saved);
          }
          parameter.grad = tensor(drawn([8], 100 + step));
          optimizer.step();
        }
        optimizer.dispose();
        return parameter.toNumbers();
      };
      expect(run(true)).toEqual(run(false));
    }));

  test("refuses a state of other parameters, and says which entry", () =>
    scope(() => {
      const optimizer = new AdamW([ones([2])], { lr: 0.1 });
      expect(() => optimizer.loadState(new Map())).toThrow("the saved state has no exp_avg.0");
      const wrong = new Map<string, Tensor>([...optimizer.state()]).set("exp_avg_sq.0", zeros([3]));
      expect(() => optimizer.loadState(wrong)).toThrow("exp_avg_sq.0 has [3], expected [2]");
      expect(() => new AdamW([], { lr: 0.1 })).toThrow("no parameter");
      optimizer.dispose();
    }));

  test("holds its state out of every scope, and allocates nothing in a step", () => {
    const before = liveTensors();
    const parameter = keep(ones([4]));
    const optimizer = scope(() => new AdamW([parameter], { lr: 0.1 }));
    expect(liveTensors() - before).toBe(4);
    scope(() => {
      parameter.grad = ones([4]);
      const inside = liveTensors();
      optimizer.step();
      expect(liveTensors()).toBe(inside);
    });
    optimizer.dispose();
    parameter.dispose();
    expect(liveTensors()).toBe(before);
  });
});

describe("clipGradNorm", () => {
  test("leaves a norm below the limit as it is, and only measures with Infinity", () =>
    scope(() => {
      const x = zeros([2]);
      x.grad = tensor([3, 4]);
      expect(clipGradNorm([x], Number.POSITIVE_INFINITY)).toBe(5);
      expect(clipGradNorm([x], 5.1)).toBe(5);
      expect(x.grad?.toNumbers()).toEqual([3, 4]);
      expect(clipGradNorm([x], 1)).toBe(5);
      expect(x.grad?.linalgVectorNorm().item()).toBeCloseTo(1, 5);
    }));

  test("tells of a norm that is not finite and leaves the gradients to the caller", () =>
    scope(() => {
      const [x, y] = [zeros([2]), zeros([1])];
      x.grad = tensor([1, Number.NaN]);
      y.grad = tensor([2]);
      expect(clipGradNorm([x, y], 1)).toBeNaN();
      expect(y.grad?.item()).toBe(2);
      expect(clipGradNorm([zeros([1])], 1)).toBe(0);
    }));
});

test("AdamW's moments of a loaded kernel are the same whether it was used before", () =>
  scope(() => {
    const momentsOf = (usedBefore: boolean): number[][] => {
      const layer = new Conv2d(2, 3, 3, { bias: false });
      loadWeights(layer, new Map([["weight", randn([3, 2, 3, 3], { generator: new Generator(1) })]]));
      const x = randn([1, 2, 4, 4], { generator: new Generator(2) });
      if (usedBefore) layer.forward(x);
      layer.requiresGrad_();
      const optimizer = new AdamW(layer.parameters(), { lr: 0.1 });
      layer.forward(x).square().mean().backward();
      optimizer.step();
      return [...optimizer.state().values(), layer.weight].map((t) => t.toNumbers());
    };
    expect(momentsOf(false)).toEqual(momentsOf(true));
  }));
