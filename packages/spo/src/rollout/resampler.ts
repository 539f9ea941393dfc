import { type Denoiser, type NoiseProcess, sampleGaussian } from "@spo/diffusion";
import { timed, type WorkMeter } from "@spo/records";
import {
  cat,
  type Generator,
  keep,
  noGrad,
  randint,
  randn,
  Scope,
  scope,
  Tensor,
  tensor,
  UserError,
} from "@spo/torch";
import type { CandidateScorer } from "../judges/judge.js";
import { concatPairs, type StepPairs } from "../objectives/step-pairs.js";
import { withCommonDetail } from "./candidate-noise.js";
import { type Comparison, compare, type MarginSoftmax } from "./compare.js";

/** Candidates that are decoded and judged at a time, unless told otherwise. */
export const JUDGE_CHUNK = 16;

/** Settings of the step-wise resampler, with the paper's letters. Source: Liang et al. 2024, section 3.3; algorithm 4. */
export interface ResamplerSettings {
  /** N, sampling steps. */
  steps: number;
  /** k, children of one x_t. */
  candidates: number;
  /** d in [0, N), the first step that branches; before it the sampling is ordinary. */
  firstBranch: number;
  /** m, steps that each child makes on its own before it is judged. SD1.5: 0. */
  innerSteps?: number;
  /** Least p_best − p_worst of a pair. */
  threshold: number;
  /** Noise that the steps add, as the process has it. SPO: 1. */
  eta?: number;
  /**
   * The candidate that the next step starts from. SPO: a random one, so that all pairs share one history and it is no choice of the judge.
   */
  continueFrom?: "random" | "best";
  /**
   * The timestep that the judge is told: the one that the candidates have come to, where their x̂0 is predicted (the published code), or
   * the one that the step to them began at.
   */
  judgeTimestep?: "reached" | "source";
  /** Default: the pair, as published. */
  marginSoftmax?: MarginSoftmax;
}

/** Where the draws of a rollout come from. */
export interface Randomness {
  /** Standard normal noise of one sampling step: [B, c, h, w] before the first branch, [k, B, c, h, w] from there on. */
  noise(step: number, shape: readonly number[]): Tensor;
  /** For each of B prompts, the candidate in [0, k) that goes on after a comparison. */
  choose(comparison: number, candidates: number, prompts: number): readonly number[];
}

/** All draws from one generator, in the order of the steps. noiseBlock: of `withCommonDetail`; 1: candidates share nothing. */
export function drawn(generator: Generator, { device = "cpu", noiseBlock = 1 } = {}): Randomness {
  return {
    noise: (_, shape) => {
      const noise = randn(shape, { generator, device });
      return shape.length === 5 ? withCommonDetail(noise, noiseBlock) : noise;
    },
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

/** The candidates of one prompt in one comparison, kept as images for people to look at. */
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

/** The results of a rollout of B prompts. */
export interface Rollout {
  /** By comparison, then by step in the segment, then by prompt. */
  pairs: StepPairs;
  comparisons: StepComparison[];
  strips: CandidateStrip[];
  /** After the last step, [k·B, c, h, w], row j·B + b. */
  latents: Tensor;
}

/** The inputs of a rollout of B prompts. */
export interface ResamplerInput {
  denoiser: Denoiser;
  process: NoiseProcess;
  /** Scaled latents [n, c, h, w] → pixels [n, 3, H, W]. */
  decode: (latents: Tensor) => Tensor;
  /** Of the prompts. */
  scorer: CandidateScorer;
  /** x_T of each prompt, standard normal [B, c, h, w], float32. Row b belongs to prompt b of the denoiser and of the scorer. */
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
  branch: boolean;
}

/**
 * Step-wise resampling: win-lose pairs of single denoising steps that share one history.
 *
 * From step d on, a segment is a branch into k children and m steps of each on its own. At the next timestep each child's x̂0 is judged;
 * best and worst make a pair if they are far enough apart, and a random one goes on. The last step always ends its segment; its children
 * are judged as they are, at timestep 0. Gives tensors of no graph. Where a score is not finite there is no pair.
 * Throws a UserError (`DATA`) when the judge gives no score for each candidate. Source: Liang et al. 2024, section 3.3; algorithm 4.
 */
export function resample(input: ResamplerInput): Rollout {
  return noGrad(() => scope(() => rollout(input)));
}

function rollout(input: ResamplerInput): Rollout {
  const { denoiser, process, initialLatents, randomness, settings, meter } = input;
  const { steps, candidates: k, firstBranch, innerSteps = 0, threshold, eta = 1 } = settings;
  const { continueFrom = "random", judgeTimestep = "reached", marginSoftmax } = settings;
  if (!(firstBranch >= 0 && firstBranch < steps))
    throw new RangeError(`firstBranch is ${firstBranch}, must be in [0, ${steps})`);
  const [prompts, ...latent] = initialLatents.shape as [number, ...number[]];
  const childRows = range(k * prompts).map((row) => row % prompts); // row = j·B + b
  const predictOne = denoiser.forRows(range(prompts));
  const predictAll = denoiser.forRows(childRows);

  let x = initialLatents; // [B, …] up to the first branch, then [k·B, …]
  let segment: Transition[] = [];
  const comparisons: StepComparison[] = [];
  const parts: StepPairs[] = [];
  const strips: CandidateStrip[] = [];

  // Judges the children of the open segment: makes its pairs and images, and chooses the children that go on.
  const judgeSegment = (timestep: number, x0: Tensor, memory: Scope): readonly number[] => {
    const at = comparisons.length;
    const told = judgeTimestep === "reached" ? timestep : (segment.at(-1) as Transition).t;
    const { scores, pictures } = judgeChildren(input, { xt: x, x0, timestep: told, rows: childRows });
    const found = compare(scores, threshold, { among: marginSoftmax });
    const drawn = timestep > 0 ? randomness.choose(at, k, prompts) : undefined;
    const next = drawn && continueFrom === "best" ? found.win : drawn;
    comparisons.push({ ...found, timestep, scores, next });
    parts.push(memory.keep(pairsOf(segment, found, at)));
    for (const [prompt, images] of pictures) {
      const [win, lose] = [found.win[prompt] as number, found.lose[prompt] as number];
      const ofPrompt = scores.map((row) => row[prompt] as number);
      const valid = found.valid[prompt] as boolean;
      memory.keep(images);
      strips.push({
        prompt,
        comparison: at,
        timestep,
        images,
        scores: ofPrompt,
        win,
        lose,
        valid,
        next: next?.[prompt],
      });
    }
    return next ?? [];
  };

  for (const [i, t] of process.timesteps(steps).entries()) {
    using memory = new Scope();
    const branches = i >= firstBranch && (i - firstBranch) % (innerSteps + 1) === 0;
    meter?.count("unetSampling", (x.shape[0] as number) * denoiser.samplePasses);
    const { x0, mean, std } = timed(meter, "sampling", () => {
      const output = (i <= firstBranch ? predictOne : predictAll)(x, t);
      return process.step(x, output, { t, previous: process.previousTimestep(t, steps), eta });
    });
    if (i < firstBranch) {
      x = memory.keep(sampleGaussian({ mean, std }, randomness.noise(i, x.shape)));
    } else {
      let from = x;
      let centre = mean;
      if (branches && i > firstBranch) {
        const next = judgeSegment(t, x0, memory);
        const chosen = tensor(
          next.map((j, b) => j * prompts + b),
          { dtype: "int64", device: x.device },
        );
        from = memory.keep(x.indexSelect(0, chosen));
        centre = mean.indexSelect(0, chosen);
      }
      if (branches) segment = [];
      else centre = centre.unflatten(0, [k, prompts]);
      const noise = randomness.noise(i, [k, prompts, ...latent]);
      x = memory.keep(sampleGaussian({ mean: centre, std }, noise).flatten(0, 1));
      segment.push({ t, from, to: x, branch: branches });
    }
    input.onStep?.(i + 1, steps);
  }
  {
    using memory = new Scope();
    judgeSegment(0, x, memory);
  }
  return { pairs: concatPairs(parts), comparisons, strips, latents: x };
}

/** Scores of all children, and the decoded predictions of those prompts whose pictures are wanted. */
function judgeChildren(
  {
    scorer,
    decode,
    initialLatents,
    settings,
    judgeChunk = JUDGE_CHUNK,
    stripPrompts = [],
    meter,
  }: ResamplerInput,
  { xt, x0, timestep, rows }: { xt: Tensor; x0: Tensor; timestep: number; rows: readonly number[] },
): { scores: number[][]; pictures: Map<number, Tensor> } {
  const prompts = initialLatents.shape[0] as number;
  const scores: number[] = [];
  const pictures = new Map<number, Tensor[]>(stripPrompts.map((prompt) => [prompt, []]));
  const decodeMetered = (latents: Tensor): Tensor => {
    meter?.count("vaeDecode", latents.shape[0] as number);
    return timed(meter, "decode", () => decode(latents));
  };
  for (let start = 0; start < rows.length; start += judgeChunk) {
    const chunk = rows.slice(start, start + judgeChunk);
    using memory = new Scope();
    const ofChunk = x0.narrow(0, start, chunk.length);
    let decoded: Tensor | undefined;
    // The image must outlive the judge's own scopes, so it belongs to no scope until the chunk is done.
    const image = (): Tensor => {
      decoded ??= keep(decodeMetered(ofChunk));
      return decoded;
    };
    try {
      const candidates = { xt: xt.narrow(0, start, chunk.length), x0: ofChunk, timestep, image };
      const given = timed(meter, "judge", () => scorer.score(candidates, chunk, meter));
      scores.push(...oneEach(given, chunk.length));
      for (const [i, prompt] of chunk.entries()) {
        const wanted = pictures.get(prompt);
        if (!wanted) continue;
        const picture = decoded ? decoded.narrow(0, i, 1).clone() : decodeMetered(ofChunk.narrow(0, i, 1));
        wanted.push(memory.keep(picture));
      }
    } finally {
      decoded?.dispose();
    }
  }
  return {
    scores: range(settings.candidates).map((j) => scores.slice(j * prompts, (j + 1) * prompts)),
    pictures: new Map([...pictures].map(([prompt, images]) => [prompt, cat(images)])),
  };
}

/** Scores as numbers. Throws a UserError (`DATA`) unless there is one for each of n candidates. */
function oneEach(scores: Tensor, n: number): number[] {
  if (scores instanceof Tensor && scores.shape.length === 1 && scores.shape[0] === n)
    return scores.toNumbers();
  const found = scores instanceof Tensor ? `a tensor [${scores.shape}]` : `a ${typeof scores}`;
  throw new UserError(`The judge was shown ${n} candidates and gave ${found}, not a tensor [${n}].`, {
    code: "DATA",
    hint: "A judge gives one score for each candidate: mean or sum over everything but the first dimension.",
  });
}

/** All transitions of a segment's winner and loser, for the prompts with a valid comparison. */
function pairsOf(
  segment: readonly Transition[],
  { win, lose, margin, valid }: Comparison,
  comparison: number,
): StepPairs {
  const prompts = range(valid.length).filter((b) => valid[b]);
  const constant = <T>(value: T): T[] => prompts.map(() => value);
  return concatPairs(
    segment.map(({ t, from, to, branch }) => {
      const rowsOf = (places: readonly number[]): Tensor =>
        tensor([...places], { dtype: "int64", device: to.device });
      const child = (chosen: readonly number[]): Tensor =>
        rowsOf(prompts.map((b) => (chosen[b] as number) * valid.length + b));
      const [winners, losers] = [child(win), child(lose)];
      const latentsWin = from.indexSelect(0, branch ? rowsOf(prompts) : winners);
      return {
        size: prompts.length,
        timesteps: constant(t),
        prompts: [...prompts],
        latentsWin,
        latentsLose: branch ? latentsWin : from.indexSelect(0, losers),
        nextWin: to.indexSelect(0, winners),
        nextLose: to.indexSelect(0, losers),
        shared: constant(branch),
        margins: prompts.map((b) => margin[b] as number),
        comparisons: constant(comparison),
      };
    }),
  );
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
