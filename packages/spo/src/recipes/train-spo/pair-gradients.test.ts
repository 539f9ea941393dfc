// Against algorithm 5 worked out in float64 for a model of one number a prompt, whose output is w·x_t, with the gradient by central
// differences.
import { type Denoiser, VpSchedule } from "@spo/diffusion";
import { Generator, randn, scope, type Tensor, tensor } from "@spo/torch";
import { expect, test } from "vitest";
import type { StepPairs } from "../../objectives/step-pairs.js";
import { microBatches } from "../training/micro-batches.js";
import { joinGradients, pairGradients } from "./pair-gradients.js";

const generator = new Generator(11);
const shape = [4, 2, 2]; // of a latent
const pairs = pairsOf([951, 501, 251, 51, 1, 701, 151], [0, 1, 2, 0, 1, 2, 0]);
const learned = [0.3, -0.2, 0.7];
const base = [0.28, -0.22, 0.69];
const settings = { steps: 20, beta: 10, clip: 0.1, prediction: "epsilon" as "epsilon" | "v_prediction" };

function pairsOf(timesteps: number[], prompts: number[]): StepPairs {
  const size = timesteps.length;
  const latents = (): Tensor => randn([size, ...shape], { generator });
  const latentsWin = latents();
  const each = <T>(value: T): T[] => timesteps.map(() => value);
  return {
    ...{
      size,
      timesteps,
      prompts,
      latentsWin,
      latentsLose: latentsWin,
      nextWin: latents(),
      nextLose: latents(),
    },
    ...{ shared: each(true), margins: each(1), comparisons: each(0) },
  };
}

/** The weight of the latent's prompt · x_t. */
const denoiserOf = (weights: Tensor): Denoiser => ({
  samplePasses: 1,
  forRows: (rows) => (xt) =>
    xt.mul(weights.indexSelect(0, tensor([...rows], { dtype: "int64" })).reshape([-1, 1, 1, 1])),
});

/** ᾱ of Stable Diffusion. Source: algorithm 1. */
const alphaBars = (() => {
  const [first, last] = [Math.sqrt(0.00085), Math.sqrt(0.012)];
  let product = 1;
  return Array.from({ length: 1000 }, (_, i) => {
    product *= 1 - (first + ((last - first) * i) / 999) ** 2;
    return product;
  });
})();

/** log p(x_{t−1} | x_t) of one side. Source: algorithm 2. */
function logProb(
  next: readonly number[],
  xt: readonly number[],
  t: number,
  weight: number,
  prediction: "epsilon" | "v_prediction",
): number {
  const [a, p] = [alphaBars[t] as number, alphaBars[Math.max(t - 50, 0)] as number];
  const variance = ((1 - p) / (1 - a)) * (1 - a / p);
  const terms = xt.map((x, i) => {
    const output = weight * x;
    const eps = prediction === "epsilon" ? output : Math.sqrt(a) * output + Math.sqrt(1 - a) * x;
    const x0 = (x - Math.sqrt(1 - a) * eps) / Math.sqrt(a);
    const mean = Math.sqrt(p) * x0 + Math.sqrt(1 - p - variance) * eps;
    return (
      -(((next[i] as number) - mean) ** 2) / (2 * variance) -
      Math.log(variance) / 2 -
      Math.log(2 * Math.PI) / 2
    );
  });
  return terms.reduce((sum, term) => sum + term, 0) / terms.length;
}

/** Mean loss of the pairs. Source: algorithm 5. */
function lossByHand(
  weights: readonly number[],
  places: readonly number[],
  { beta, clip, prediction }: typeof settings,
): number {
  const rowsOf = (of: Tensor): number[][] =>
    scope(() =>
      of
        .flatten(1)
        .unbind()
        .map((row) => row.toNumbers()),
    );
  const [xt, win, lose] = [rowsOf(pairs.latentsWin), rowsOf(pairs.nextWin), rowsOf(pairs.nextLose)];
  const losses = places.map((i) => {
    const [t, prompt] = [pairs.timesteps[i] as number, pairs.prompts[i] as number];
    const ratio = (next: readonly number[]): number => {
      const apart =
        logProb(next, xt[i] as number[], t, weights[prompt] as number, prediction) -
        logProb(next, xt[i] as number[], t, base[prompt] as number, prediction);
      return Math.min(1 + clip, Math.max(1 - clip, Math.exp(apart)));
    };
    return Math.log1p(
      Math.exp(-beta * (Math.log(ratio(win[i] as number[])) - Math.log(ratio(lose[i] as number[])))),
    );
  });
  return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
}

function gradientByHand(places: readonly number[], by: typeof settings): number[] {
  const h = 1e-6;
  return learned.map((_, prompt) => {
    const moved = (step: number): number[] => learned.map((w, i) => (i === prompt ? w + step : w));
    return (lossByHand(moved(h), places, by) - lossByHand(moved(-h), places, by)) / (2 * h);
  });
}

function found(places: readonly number[], microBatch: number, { prediction, ...by } = settings, scale = 1) {
  return scope(() => {
    const weights = tensor([...learned]);
    weights.requiresGrad = true;
    const parts = microBatches(places.length, microBatch).map(({ start, size, share }) =>
      pairGradients({
        policy: denoiserOf(weights),
        reference: denoiserOf(tensor([...base])),
        process: new VpSchedule({ prediction_type: prediction }),
        scale: (loss) => loss.mul(scale),
        ...{ pairs, places: places.slice(start, start + size), share, ...by },
      }),
    );
    return {
      ...joinGradients(parts), // Where no pair has a gradient there is none.
      gradient: weights.grad?.toNumbers() ?? learned.map(() => 0),
      learns: weights.grad !== undefined,
    };
  });
}

const all = [4, 0, 6, 2, 5, 1, 3];

test.each([1, 2, 3, 7, 100])(
  "in parts of %i, loss and gradient are those of all pairs at once, by the formula",
  (microBatch) => {
    for (const places of [all, [2, 5, 0]]) {
      const { loss, gradient } = found(places, microBatch);
      expect(loss).toBeCloseTo(lossByHand(learned, places, settings), 5);
      for (const [i, expected] of gradientByHand(places, settings).entries())
        expect(gradient[i]).toBeCloseTo(expected, 4);
    }
  },
);

test.each([
  { ...settings, beta: 3 },
  { ...settings, clip: 0.5 },
  { ...settings, clip: 0.01 },
  { ...settings, clip: 0.5, prediction: "v_prediction" as const },
])("the settings are the formula's: %j", (by) => {
  const { loss, gradient } = found(all, 2, by);
  expect(loss).toBeCloseTo(lossByHand(learned, all, by), 5);
  for (const [i, expected] of gradientByHand(all, by).entries()) expect(gradient[i]).toBeCloseTo(expected, 4);
});

test("log ratios are told pair by pair, in the order of the places", () => {
  const { logRatioWin, logRatioLose } = found(all, 3);
  const one = all.map((place) => found([place], 1));
  expect(logRatioWin).toHaveLength(all.length);
  for (const [i, { logRatioWin: win, logRatioLose: lose }] of one.entries()) {
    expect(logRatioWin[i]).toBeCloseTo(win[0] as number, 5);
    expect(logRatioLose[i]).toBeCloseTo(lose[0] as number, 5);
  }
});

test("the loss's scale is the gradient's, and not that of the loss that is told", () => {
  const [plain, scaled] = [found(all, 3), found(all, 3, settings, 1024)];
  expect(scaled.loss).toBe(plain.loss);
  for (const [i, value] of plain.gradient.entries()) expect(scaled.gradient[i]).toBeCloseTo(1024 * value, 2);
});

test("pairs with both sides outside the clip take no backward pass", () => {
  expect(found(all, 3, { ...settings, clip: 1e-9 }).learns).toBe(false);
});
