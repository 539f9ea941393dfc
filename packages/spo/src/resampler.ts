import { ddimStep, type NoiseSchedule } from "@spo/diffusion";
import { type Generator, keep, noGrad, randint, randn, scope, type Tensor, tensor, UserError, zeros } from "@spo/torch";
import { type Comparison, compare } from "./compare.js";
import type { Denoiser } from "./denoiser.js";
import type { StepAwareJudge } from "./judge.js";
import { concatPairs, type StepPairs } from "./pairs.js";
import type { WorkMeter } from "./work.js";

export interface ResamplerSettings {
  /** N, sampling steps. */
  steps: number;
  /** k, children of one x_t. */
  candidates: number;
  /** d, the first step that branches; before it the sampling is ordinary. */
  firstBranch: number;
  /** m, steps that each child makes on its own before it is judged. SD1.5: 0. */
  innerSteps?: number;
  /** Least p_best − p_worst of a pair. */
  threshold: number;
  /** Spread of the DDIM steps. SPO: 1. */
  eta?: number;
}

/** Where the draws of a rollout come from. */
export interface Randomness {
  /** Standard normal noise of one sampling step: [B, c, h, w] before the first branch, [k, B, c, h, w] from there on. */
  noise(step: number, shape: readonly number[]): Tensor;
  /** For each of B prompts, the candidate in [0, k) that goes on after a comparison. */
  choose(comparison: number, candidates: number, prompts: number): readonly number[];
}

/** All draws from one generator, in the order of the steps. */
export function drawn(generator: Generator, { device = "cpu" } = {}): Randomness {
  return {
    noise: (_, shape) => randn(shape, { generator, device }),
    choose: (_, candidates, prompts) =>
      scope(() => randint(0, candidates, [prompts], { generator, dtype: "int64" }).toNumbers()),
  };
}

/** A comparison as it happened. */
export interface StepComparison extends Comparison {
  /** Timestep at which the candidates were judged; 0 after the last step. */
  timestep: number;
  /** [k][B] */
  scores: number[][];
  /** The candidate of each prompt that went on; none after the last step. */
  next?: readonly number[];
}

/** The candidates of one prompt in one comparison, to be looked at. */
export interface CandidateStrip {
  prompt: number;
  comparison: number;
  timestep: number;
  /** Decoded predictions [k, 3, H, W], about [−1, 1]. */
  images: Tensor;
  scores: number[];
  win: number;
  lose: number;
  valid: boolean;
  next?: number;
}

export interface Rollout {
  /** By comparison, then by step in the segment, then by prompt. */
  pairs: StepPairs;
  comparisons: StepComparison[];
  strips: CandidateStrip[];
  /** After the last step, [k·B, c, h, w], row j·B + b; [B, c, h, w] if no step branched. */
  latents: Tensor;
}

export interface ResamplerInput<Prepared> {
  denoiser: Denoiser;
  schedule: NoiseSchedule;
  /** Scaled latents [n, c, h, w] → pixels [n, 3, H, W]. */
  decode: (latents: Tensor) => Tensor;
  judge: StepAwareJudge<Prepared>;
  prepared: Prepared;
  /** x_T of each prompt, standard normal [B, c, h, w], float32. Row b belongs to prompt b of the denoiser and of `prepared`. */
  initialLatents: Tensor;
  randomness: Randomness;
  settings: ResamplerSettings;
  /** Candidates decoded and judged at a time: small chunks stay in the cache. */
  judgeChunk?: number;
  /** Prompts whose candidates are kept as images. They are decoded even if the judge does not. */
  stripPrompts?: readonly number[];
  meter?: WorkMeter;
  /** Called after each of N steps, outside of every step's scope. */
  onStep?: (done: number, steps: number) => void;
}

/** One step of a segment: x_t of the branch [B, …] or of each child [k·B, …] and what came of it [k·B, …]. */
interface Transition {
  t: number;
  from: Tensor;
  to: Tensor;
}

/**
 * Step-wise resampling: win-lose pairs of single denoising steps that share one history.
 *
 * From step d on, a segment is a branch into k children and m steps of each on its own. At the next timestep each child's x̂0 is judged;
 * best and worst make a pair if they are far enough apart, and a random one goes on. The last step always ends its segment; its children
 * are judged as they are, at timestep 0. Gives tensors of no graph.
 * Throws a UserError (`NUMERIC`) when a score is not finite. Source: Liang et al. 2024, section 3.3; algorithm 4.
 */
export function resample<Prepared>(input: ResamplerInput<Prepared>): Rollout {
  return noGrad(() => scope(() => rollout(input)));
}

function rollout<Prepared>(input: ResamplerInput<Prepared>): Rollout {
  const { denoiser, schedule, initialLatents, randomness, settings, meter } = input;
  const { steps, candidates: k, firstBranch, innerSteps = 0, threshold, eta = 1 } = settings;
  const [prompts, ...latentShape] = initialLatents.shape as [number, ...number[]];
  const timesteps = schedule.timesteps(steps);
  const predictEach = denoiser.forRows(range(prompts));
  const childRows = range(k * prompts).map((row) => row % prompts); // row = j·B + b
  const predictChildren = firstBranch < steps ? denoiser.forRows(childRows) : predictEach;

  let x = initialLatents;
  let segment: Transition[] = [];
  const comparisons: StepComparison[] = [];
  const parts: StepPairs[] = [];
  const strips: CandidateStrip[] = [];

  /** Judges the segment's children and takes its pairs. */
  const close = (timestep: number, x0: Tensor, last: boolean): StepComparison => {
    const at = comparisons.length;
    const { scores, images } = judgeChildren(input, { xt: x, x0, timestep, childRows });
    const found = compare(scores, threshold);
    const next = last ? undefined : randomness.choose(at, k, prompts);
    const comparison = { ...found, timestep, scores, next };
    comparisons.push(comparison);
    const pairs = pairsOf(segment, comparison, at);
    if (pairs) parts.push(keepOutside(pairs));
    for (const [prompt, kept] of images) strips.push(stripOf(prompt, keepOutside(kept), comparison, at));
    return comparison;
  };
  // Pairs and strips outlive the step that makes them: they go to the rollout's own scope.
  const memory: Tensor[] = [];
  const keepOutside = <T>(value: T): T => {
    keep(value);
    return value;
  };
  void memory;

  for (const [i, t] of timesteps.entries()) {
    const step = scope(() => {
      const predict = i <= firstBranch ? predictEach : predictChildren;
      meter?.count("unetSampling", (x.shape[0] as number) * denoiser.samplePasses);
      const eps = timed(meter, "sampling", () => predict(x, t));
      const { x0, mean, std } = ddimStep(x, eps, coefficients(schedule, t, steps, eta));
      if (i < firstBranch) return { from: x, to: mean.add(randomness.noise(i, x.shape), { alpha: std }) };
      const noise = randomness.noise(i, [k, prompts, ...latentShape]);
      const branches = (i - firstBranch) % (innerSteps + 1) === 0;
      if (!branches) return { from: x, to: mean.add(noise.flatten(0, 1), { alpha: std }) };
      if (i === firstBranch) return { from: x, to: mean.add(noise, { alpha: std }).flatten(0, 1), branches };
      const { next } = close(t, x0, false) as { next: readonly number[] };
      const chosen = tensor(next.map((j, b) => j * prompts + b), { dtype: "int64", device: x.device });
      const [from, centre] = [x.indexSelect(0, chosen), mean.indexSelect(0, chosen)];
      return { from, to: centre.add(noise, { alpha: std }).flatten(0, 1), branches };
    });
    if (step.branches) segment = [];
    if (i >= firstBranch) segment.push({ t, from: step.from, to: step.to });
    x = step.to;
    input.onStep?.(i + 1, steps);
  }
  if (segment.length > 0) scope(() => void close(0, x, true));
  const pairs = concatPairs(parts);
  return { pairs, comparisons, strips, latents: x };
}
