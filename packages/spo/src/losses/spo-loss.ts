import { boundsX0, boundX0, type Denoiser, ddimStd, type NoiseSchedule } from "@spo/diffusion";
import { cat, noGrad, scope, type Tensor, tensor } from "@spo/torch";
import type { StepPairs } from "../resampler/pairs.js";
import { stepCoefficients } from "../resampler/resampler.js";
import { timed, type WorkMeter } from "../work.js";

/** log p(x_{t−1} | x_t) of n pairs, averaged over c, h, w: [n] each. The first two carry the graph. */
export interface PairLogProbs {
  win: Tensor;
  lose: Tensor;
  refWin: Tensor;
  refLose: Tensor;
}

/** A SPO loss with its parts, n pairs. */
export interface SpoLoss {
  loss: Tensor;
  /** [n] */
  perSample: Tensor;
  /** log p_θ − log p_ref before clipping, [n]. */
  logRatioWin: Tensor;
  logRatioLose: Tensor;
}

/**
 * Preference loss on the likelihood ratios of one denoising step.
 *
 * r = clamp(p_θ/p_ref, 1 − clip, 1 + clip) on each side; ℓ = −ln σ(β·ln r_w − β·ln r_l); the mean over the pairs.
 * Outside the clamp the gradient of that side is zero, on its bounds it is one. Source: Liang et al. 2024, eq. 10; algorithm 5.
 */
export function spoLoss(
  { win, lose, refWin, refLose }: PairLogProbs,
  { beta, clip }: { beta: number; clip: number },
): SpoLoss {
  return scope(() => {
    const logRatioWin = win.sub(refWin);
    const logRatioLose = lose.sub(refLose);
    // Clamp the log, not the ratio: same value and gradient, and exp cannot overflow in half precision.
    // By masks, since `clamp` of newer libtorch has gradient zero on its bounds.
    const [low, high] = [Math.log1p(-clip), Math.log1p(clip)];
    const clamped = (d: Tensor): Tensor => d.maskedFill(d.lt(low), low).maskedFill(d.gt(high), high);
    const perSample = clamped(logRatioWin).sub(clamped(logRatioLose)).mul(beta).logSigmoid().neg();
    return { loss: perSample.mean(), perSample, logRatioWin, logRatioLose };
  });
}

/** What a batch's log ratios say about the training. */
export interface RatioFigures {
  /** Share of pairs whose clamped winner is likelier, relative to the reference, than the loser; a tie counts one half. */
  accuracy: number;
  /** Mean likelihood ratio p_θ/p_ref. */
  ratioWin: number;
  ratioLose: number;
  /** Share of sides outside the clamp. */
  clipped: number;
  /** Share of pairs with both sides outside: they have no gradient. */
  withoutGradient: number;
}

/** logRatioWin, logRatioLose: as numbers, one a pair. */
export function ratioFigures(
  logRatioWin: readonly number[],
  logRatioLose: readonly number[],
  clip: number,
): RatioFigures {
  const [low, high] = [Math.log1p(-clip), Math.log1p(clip)];
  const outside = (d: number): number => Number(d < low || d > high);
  const clamped = (d: number): number => Math.min(high, Math.max(low, d));
  const mean = (of: (win: number, lose: number) => number): number =>
    logRatioWin.reduce((sum, win, i) => sum + of(win, logRatioLose[i] as number), 0) / logRatioWin.length;
  return {
    accuracy: mean((win, lose) => (Math.sign(clamped(win) - clamped(lose)) + 1) / 2),
    ratioWin: mean((win) => Math.exp(win)),
    ratioLose: mean((_, lose) => Math.exp(lose)),
    clipped: mean((win, lose) => (outside(win) + outside(lose)) / 2),
    withoutGradient: mean((win, lose) => outside(win) * outside(lose)),
  };
}

/** The Gaussians of DDIM steps from n latents, each at its own timestep. */
export interface StepGaussians {
  /** [n, c, h, w] */
  mean: Tensor;
  /** One a row. */
  std: readonly number[];
}

/**
 * x_t, ε (guided) [n, c, h, w], one timestep a row → q(x_{t−1} | x_t) of each row.
 *
 * The row form of `ddimStep`, with x̂0 written out where nothing bounds it: μ = √(p/a)·x_t + (√(1−p−σ²) − √(p/a)·√(1−a))·ε. Source: algorithm 2.
 */
function stepGaussians(
  xt: Tensor,
  eps: Tensor,
  timesteps: readonly number[],
  { schedule, steps, eta }: { schedule: NoiseSchedule; steps: number; eta: number },
): StepGaussians {
  return scope(() => {
    const rows = timesteps.map((t) => stepCoefficients(schedule, t, steps, eta));
    const std = rows.map(ddimStd);
    if (boundsX0(schedule)) {
      const [ofX0, ofEps] = [
        rows.map(({ alphaBarPrev: p }) => Math.sqrt(p)),
        rows.map(({ alphaBarPrev: p }, i) => Math.sqrt(1 - p - (std[i] as number) ** 2)),
      ];
      const noise = rows.map(({ alphaBar: a }) => -Math.sqrt(1 - a));
      const clean = rows.map(({ alphaBar: a }) => 1 / Math.sqrt(a));
      const x0 = boundX0(xt.addcmul(eps, column(noise, xt)).mul(column(clean, xt)), schedule);
      return { mean: x0.mul(column(ofX0, xt)).addcmul(eps, column(ofEps, xt)), std };
    }
    const ofXt = rows.map(({ alphaBar: a, alphaBarPrev: p }) => Math.sqrt(p / a));
    const ofEps = rows.map(
      ({ alphaBar: a, alphaBarPrev: p }, i) =>
        Math.sqrt(1 - p - (std[i] as number) ** 2) - (ofXt[i] as number) * Math.sqrt(1 - a),
    );
    return { mean: xt.mul(column(ofXt, xt)).addcmul(eps, column(ofEps, xt)), std };
  });
}

/** log N(x; mean, std²) averaged over c, h, w. x [n, c, h, w] → [n]. The row form of `gaussianLogProb`. Source: algorithm 2. */
function stepLogProbs(x: Tensor, { mean, std }: StepGaussians): Tensor {
  return scope(() => {
    const squares = x.sub(mean).square().mean([1, 2, 3]);
    const factor = tensor(
      std.map((s) => -1 / (2 * s ** 2)),
      { device: x.device },
    );
    const constant = tensor(
      std.map((s) => -Math.log(s) - 0.5 * Math.log(2 * Math.PI)),
      { device: x.device },
    );
    return constant.addcmul(squares, factor);
  });
}

/** What a SPO loss is computed from. */
export interface SpoBatch {
  /** With the graph. */
  policy: Denoiser;
  /** The base: the same UNet with the adapter off, or a frozen copy. */
  reference: Denoiser;
  /** Not empty; `prompts` are rows of the denoisers. */
  pairs: StepPairs;
  schedule: NoiseSchedule;
  /** As when the pairs were sampled. */
  steps: number;
  eta?: number;
  beta: number;
  clip: number;
  meter?: WorkMeter;
}

/**
 * The loss of a batch of pairs, with the graph. A pair whose sides share x_t costs one policy and one reference prediction.
 *
 * Source: algorithm 5.
 */
export function spoBatchLoss(batch: SpoBatch): SpoLoss {
  const { beta, clip, meter } = batch;
  return scope(() => {
    const reference = timed(meter, "reference", () => noGrad(() => pairLogProbs(batch, "reference")));
    const policy = timed(meter, "policy", () => pairLogProbs(batch, "policy"));
    return spoLoss(
      { win: policy.win, lose: policy.lose, refWin: reference.win, refLose: reference.lose },
      { beta, clip },
    );
  });
}

/** Runs `loss.backward()` and counts the UNet passes that it goes back through. */
export function backward(loss: Tensor, { pairs, policy, meter }: SpoBatch): void {
  meter?.count("unetBackward", predictionsOf(pairs) * policy.samplePasses);
  timed(meter, "backward", () => loss.backward());
}

/** log p of both sides of every pair under one of the two models. */
export function pairLogProbs(batch: SpoBatch, model: "policy" | "reference"): { win: Tensor; lose: Tensor } {
  const { pairs, meter } = batch;
  const denoiser = batch[model];
  return scope(() => {
    // Each x_t once: first the winners', then those of losers that have another.
    const apart = pairs.shared.flatMap((shared, i) => (shared ? [] : [i]));
    const take = (rows: Tensor, places: readonly number[]): Tensor =>
      rows.indexSelect(0, indexOf(places, rows));
    const xt = apart.length > 0 ? cat([pairs.latentsWin, take(pairs.latentsLose, apart)]) : pairs.latentsWin;
    const pick = (list: readonly number[]): number[] => [...list, ...apart.map((i) => list[i] as number)];
    const timesteps = pick(pairs.timesteps);
    meter?.count(
      model === "policy" ? "unetPolicy" : "unetReference",
      timesteps.length * denoiser.samplePasses,
    );
    const eps = denoiser.forRows(pick(pairs.prompts))(xt, indexOf(timesteps, xt));
    const { mean, std } = stepGaussians(xt, eps, timesteps, { eta: 1, ...batch });
    const win = stepLogProbs(pairs.nextWin, gaussiansAt(mean, std, 0, pairs.size));
    if (apart.length === 0) return { win, lose: stepLogProbs(pairs.nextLose, { mean, std }) };
    // Row of a loser's Gaussian: its own where it has one, else the winner's.
    const own = new Map(apart.map((i, n) => [i, pairs.size + n]));
    const losers = pairs.shared.map((_, i) => own.get(i) ?? i);
    const lose = stepLogProbs(pairs.nextLose, {
      mean: take(mean, losers),
      std: losers.map((i) => std[i] as number),
    });
    return { win, lose };
  });
}

/** How many predictions a batch needs: one a pair, two where the sides' x_t differ. */
const predictionsOf = ({ size, shared }: StepPairs): number => size + shared.filter((same) => !same).length;

const gaussiansAt = (mean: Tensor, std: readonly number[], start: number, length: number): StepGaussians =>
  mean.shape[0] === length
    ? { mean, std }
    : { mean: mean.narrow(0, start, length), std: std.slice(start, start + length) };

const indexOf = (places: readonly number[], like: Tensor): Tensor =>
  tensor([...places], { dtype: "int64", device: like.device });

const column = (values: readonly number[], like: Tensor): Tensor =>
  tensor([...values], { shape: [values.length, 1, 1, 1], device: like.device });
