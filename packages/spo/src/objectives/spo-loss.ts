import { type Denoiser, type Gaussian, gaussianLogProb, type NoiseProcess } from "@spo/diffusion";
import { timed, type WorkMeter } from "@spo/records";
import { cat, noGrad, scope, type Tensor, tensor } from "@spo/torch";
import { normHinge, normRatios } from "./norm-guard.js";
import type { StepPairs } from "./step-pairs.js";

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
  /** log p_θ − log p_ref before clipping, weighted, [n]. */
  logRatioWin: Tensor;
  logRatioLose: Tensor;
}

/**
 * Preference loss on the likelihood ratios of one denoising step.
 *
 * r = clamp(p_θ/p_ref, 1 − clip, 1 + clip) on each side; ℓ = −ln σ(β·ln r_w − β·ln r_l); the mean over the pairs.
 * weight [n]: what the log ratios are multiplied by before they are clamped; default 1.
 * Outside the clamp the gradient of that side is zero, on its bounds it is one. Source: Liang et al. 2024, eq. 10; algorithm 5.
 */
export function spoLoss(
  { win, lose, refWin, refLose }: PairLogProbs,
  { beta, clip, weight }: { beta: number; clip: number; weight?: Tensor },
): SpoLoss {
  return scope(() => {
    const ratio = (own: Tensor, reference: Tensor): Tensor => {
      const apart = own.sub(reference);
      return weight ? apart.mul(weight) : apart;
    };
    const logRatioWin = ratio(win, refWin);
    const logRatioLose = ratio(lose, refLose);
    // Clamp the log, not the ratio: same value and gradient, and exp cannot overflow in half precision.
    // By masks, since `clamp` of newer libtorch has gradient zero on its bounds.
    const [low, high] = [Math.log1p(-clip), Math.log1p(clip)];
    const clamped = (d: Tensor): Tensor => d.maskedFill(d.lt(low), low).maskedFill(d.gt(high), high);
    const perSample = clamped(logRatioWin).sub(clamped(logRatioLose)).mul(beta).logSigmoid().neg();
    return { loss: perSample.mean(), perSample, logRatioWin, logRatioLose };
  });
}

/** Figures of a batch's log ratios. */
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

/** What a SPO loss is computed from. */
export interface SpoBatch {
  /** With the graph. */
  policy: Denoiser;
  /** The base: the same UNet with the adapter off, or a frozen copy. */
  reference: Denoiser;
  /** Not empty; `prompts` are rows of the denoisers. */
  pairs: StepPairs;
  process: NoiseProcess;
  /** As when the pairs were sampled. */
  steps: number;
  eta?: number;
  beta: number;
  clip: number;
  /** Weight of the hinge on predictions that are longer than the reference's; 0: none. */
  normPenalty?: number;
  /** Default raw. */
  ratio?: RatioKind;
  meter?: WorkMeter;
}

/** The loss of a batch, and ‖policy‖/‖reference‖ of each of its predictions, [m], without a graph. */
export interface SpoBatchLoss extends SpoLoss {
  normRatios: Tensor;
}

/**
 * Log ratios of a step's density as they are (the published code), or normalised: as if each step's mean moved by one standard deviation
 * with an output that moves by 1. Source: this project; the reweighting is that of TempFlow-GRPO, He et al. 2025.
 */
export type RatioKind = "raw" | "normalised";

/**
 * The loss of a batch of pairs, with the graph. A pair whose sides share x_t costs one policy and one reference prediction.
 *
 * Source: algorithm 5; the hinge: `normHinge`.
 */
export function spoBatchLoss(batch: SpoBatch): SpoBatchLoss {
  const { beta, clip, normPenalty = 0, meter } = batch;
  return scope(() => {
    const reference = timed(meter, "reference", () => noGrad(() => pairLogProbs(batch, "reference")));
    const policy = timed(meter, "policy", () => pairLogProbs(batch, "policy"));
    const found = spoLoss(
      { win: policy.win, lose: policy.lose, refWin: reference.win, refLose: reference.lose },
      { beta, clip, weight: batch.ratio === "normalised" ? normalising(batch) : undefined },
    );
    const ratios = normRatios(normPenalty > 0 ? policy.output : policy.output.detach(), reference.output);
    if (normPenalty === 0) return { ...found, normRatios: ratios };
    const loss = found.loss.add(normHinge(ratios), { alpha: normPenalty });
    return { ...found, loss, normRatios: ratios.detach() };
  });
}

/** (s/|∂μ/∂output|)² of each pair's step, of standard deviation s: what makes log ratios independent of the step. [n] */
function normalising({ pairs, process, steps, eta = 1 }: SpoBatch): Tensor {
  const t = pairs.timesteps;
  const times = { t, previous: t.map((each) => process.previousTimestep(each, steps)), eta };
  const [std, gain] = [process.std(times), process.outputGain(times)] as [number[], number[]];
  return tensor(
    std.map((s, i) => (s / (gain[i] as number)) ** 2),
    { device: pairs.nextWin.device },
  );
}

/** Runs `loss.backward()` and counts the UNet passes that it goes back through. */
export function backward(loss: Tensor, { pairs, policy, meter }: SpoBatch): void {
  meter?.count("unetBackward", predictionsOf(pairs) * policy.samplePasses);
  timed(meter, "backward", () => loss.backward());
}

/** log p of both sides of every pair under one of the two models, [n], and the predictions that they are of, [m, c, h, w]. */
export function pairLogProbs(
  batch: SpoBatch,
  model: "policy" | "reference",
): { win: Tensor; lose: Tensor; output: Tensor } {
  const { pairs, process, steps, eta = 1, meter } = batch;
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
    const output = denoiser.forRows(pick(pairs.prompts))(xt, tensor(timesteps, { device: xt.device }));
    const previous = timesteps.map((t) => process.previousTimestep(t, steps));
    const gaussian = process.density(xt, output, { t: timesteps, previous, eta });
    const winners = apart.length === 0 ? gaussian : firstRows(gaussian, pairs.size);
    const win = gaussianLogProb(pairs.nextWin, winners);
    if (apart.length === 0) return { win, lose: gaussianLogProb(pairs.nextLose, gaussian), output };
    // Row of a loser's Gaussian: its own where it has one, else the winner's.
    const own = new Map(apart.map((i, n) => [i, pairs.size + n]));
    const losers = pairs.shared.map((_, i) => own.get(i) ?? i);
    const { mean, std } = gaussian;
    const stdOf = (row: number): number => (typeof std === "number" ? std : (std[row] as number));
    const lose = gaussianLogProb(pairs.nextLose, { mean: take(mean, losers), std: losers.map(stdOf) });
    return { win, lose, output };
  });
}

/** How many predictions a batch needs: one a pair, two where the sides' x_t differ. */
const predictionsOf = ({ size, shared }: StepPairs): number => size + shared.filter((same) => !same).length;

const firstRows = ({ mean, std }: Gaussian, n: number): Gaussian => ({
  mean: mean.narrow(0, 0, n),
  std: typeof std === "number" ? std : std.slice(0, n),
});

const indexOf = (places: readonly number[], like: Tensor): Tensor =>
  tensor([...places], { dtype: "int64", device: like.device });
