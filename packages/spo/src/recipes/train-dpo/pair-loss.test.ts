// For models ε = w·x_t of a pair's own number, against algorithm 6 in float64.
import type { Denoiser } from "@spo/diffusion";
import { WorkMeter } from "@spo/records";
import { Generator, randn, scope, type Tensor, tensor } from "@spo/torch";
import { expect, test } from "vitest";
import type { NoisyPairs } from "./noisy-pairs.js";
import { pairLoss } from "./pair-loss.js";

const generator = new Generator(5);
const noisy = randn([6, 2, 2, 2], { generator });
const one = randn([3, 2, 2, 2], { generator });
const noise = scope(() => tensor([...one.toNumbers(), ...one.toNumbers()], { shape: [6, 2, 2, 2] }));
const timesteps = tensor([10, 500, 900, 10, 500, 900], { dtype: "int64" });
const pairs = { noisy, target: noise, timesteps, conditions: {} } as unknown as NoisyPairs;
const learned = [0.9, -0.4, 0.2];
const base = [0.8, -0.2, 0.25];

const denoiserOf = (weights: Tensor): Denoiser => ({
  samplePasses: 1,
  forRows: (rows) => (xt) =>
    xt.mul(weights.indexSelect(0, tensor([...rows], { dtype: "int64" })).reshape([-1, 1, 1, 1])),
});

function lossOf(objective: "dpo" | "sft", beta: number, meter?: WorkMeter) {
  return scope(() => {
    const weights = tensor([...learned]);
    weights.requiresGrad = true;
    const policy = denoiserOf(weights);
    const found = pairLoss(pairs, {
      policy,
      reference: denoiserOf(tensor([...base])),
      objective,
      beta,
      meter,
    });
    found.loss.backward();
    const { accuracy, samples } = found;
    return { loss: found.loss.item(), accuracy, samples, gradient: weights.grad?.toNumbers() as number[] };
  });
}

const [x, n] = [noisy, noise].map((of) =>
  scope(() =>
    of
      .flatten(1)
      .unbind()
      .map((row) => row.toNumbers()),
  ),
) as [number[][], number[][]];
/** Mean squared error of a row's prediction. */
const error = (row: number, weight: number): number => {
  const squares = (x[row] as number[]).map((value, i) => (weight * value - (n[row]?.[i] as number)) ** 2);
  return squares.reduce((sum, square) => sum + square, 0) / squares.length;
};
const inside = (weights: readonly number[], i: number, beta: number): number => {
  const apart = (w: number): number => error(i, w) - error(i + 3, w);
  return -0.5 * beta * (apart(weights[i] as number) - apart(base[i] as number));
};
const byHand = {
  dpo: (weights: readonly number[], beta: number): number =>
    [0, 1, 2].reduce((sum, i) => sum + Math.log1p(Math.exp(-inside(weights, i, beta))) / 3, 0),
  sft: (weights: readonly number[]): number =>
    [0, 1, 2].reduce((sum, i) => sum + error(i, weights[i] as number) / 3, 0),
};

test.each([
  ["dpo", 4],
  ["dpo", 50],
  ["sft", 4],
] as const)("loss and gradient of %s with beta %i are the formula's", (objective, beta) => {
  const { loss, gradient } = lossOf(objective, beta);
  expect(loss).toBeCloseTo(byHand[objective](learned, beta), 4);
  const h = 1e-6;
  for (const [i, found] of gradient.entries()) {
    const moved = (step: number): number[] => learned.map((w, j) => (j === i ? w + step : w));
    const slope = (byHand[objective](moved(h), beta) - byHand[objective](moved(-h), beta)) / (2 * h);
    expect(found).toBeCloseTo(slope, 3);
  }
});

test("the implicit accuracy is the share of pairs that the policy orders better than the base, and work is counted", () => {
  const meter = new WorkMeter();
  const { accuracy, samples } = lossOf("dpo", 4, meter);
  const right = [0, 1, 2].filter((i) => inside(learned, i, 4) > 0).length;
  expect(accuracy).toBeCloseTo(right / 3, 6);
  expect(samples).toBe(6);
  expect(meter.take().passes).toMatchObject({ unetPolicy: 6, unetReference: 6 });
  expect(lossOf("sft", 4, meter).samples).toBe(3);
  expect(meter.take().passes).toMatchObject({ unetPolicy: 3, unetReference: 0 });
});

test("the penalty on norms adds the hinge of all predictions, and their mean ratio is told", () => {
  scope(() => {
    const [policy, reference] = [learned, base].map((weights) => denoiserOf(tensor([...weights]))) as [
      Denoiser,
      Denoiser,
    ];
    const of = (normPenalty: number) =>
      pairLoss(pairs, { policy, reference, objective: "dpo", beta: 3, normPenalty });
    const ratios = learned.map((weight, i) => Math.abs(weight / (base[i] as number)));
    expect(of(0).normRatio).toBeCloseTo(ratios.reduce((sum, ratio) => sum + ratio, 0) / 3, 5);
    // 9/8, 2 and 4/5 of the reference's length.
    expect(of(10).loss.item() - of(0).loss.item()).toBeCloseTo((10 * (0.125 + 1)) / 3, 4);
    expect(pairLoss(pairs, { policy, reference, objective: "sft", beta: 3 }).normRatio).toBeUndefined();
  });
});
