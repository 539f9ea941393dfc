import { type Denoiser, type NoiseProcess, sampleGaussian } from "@spo/diffusion";
import { timed, type WorkMeter } from "@spo/records";
import { forEachTensor, noGrad, Scope, scope, type Tensor, tensor } from "@spo/torch";
import type { CandidateScorer } from "../judges/judge.js";
import { withDoubt } from "./agreement.js";
import { compare, type MarginSoftmax } from "./compare.js";
import { judgeCandidates, type Predicted } from "./judge-candidates.js";
import type { Randomness } from "./randomness.js";
import type { CandidateStrip, Segment, StepComparison, Transition } from "./transitions.js";

/** Settings of a rollout, with the paper's letters. Source: Liang et al. 2024, section 3.3; algorithm 4. */
export interface RolloutSettings {
  /** N, sampling steps. */
  steps: number;
  /** k, children of one x_t. */
  candidates: number;
  /** d in [0, N), the first step that branches; before it the sampling is ordinary. */
  firstBranch: number;
  /** The last step that may branch; when its children are judged the sampling ends. Default: the last of all. */
  lastBranch?: number | null;
  /** m, steps that each child makes on its own before it is judged. SD1.5: 0. */
  innerSteps?: number;
  /** Least p_best − p_worst of a pair: one for all, or one for each of N steps, that of the last step before the judge. */
  threshold: number | readonly number[];
  /** Noise that the steps add, as the process has it. SPO: 1. */
  eta?: number;
  /** The same for the steps before the first branch, where nothing is to be told apart. Default: `eta`. */
  etaBefore?: number | null;
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
  /** Of several judges in one: least share of them that must not find the loser of a pair better. Default 0: their sum alone decides. */
  judgeAgreement?: number;
}

/** The inputs of a rollout of B prompts. */
export interface RolloutInput {
  denoiser: Denoiser;
  process: NoiseProcess;
  /** Scaled latents [n, c, h, w] → pixels [n, 3, H, W]. */
  decode: (latents: Tensor) => Tensor;
  /** Of the prompts. */
  scorer: CandidateScorer;
  /** x_T of each prompt, standard normal [B, c, h, w], float32. Row b belongs to prompt b of the denoiser and of the scorer. */
  initialLatents: Tensor;
  randomness: Randomness;
  settings: RolloutSettings;
  /** Candidates decoded and judged at a time: small chunks stay in the cache. */
  judgeChunk?: number;
  /**
   * Prompts whose candidates are kept as images. They are decoded even if the judge does not, and predicted even if it sees latents: a pass
   * for each.
   */
  stripPrompts?: readonly number[];
  meter?: WorkMeter;
  /** Called after each of N steps, outside of every step's scope. */
  onStep?: (done: number, steps: number) => void;
}

/** What a rollout of B prompts found. */
export interface Rollout<R> {
  /** What was read of each segment, in the order of sampling. */
  read: R[];
  comparisons: StepComparison[];
  strips: CandidateStrip[];
  /** As they were judged last: after the last step, or where `lastBranch` ends the sampling. [k·B, c, h, w], row j·B + b. */
  latents: Tensor;
}

/**
 * Samples B prompts with pools of candidates. From step d on, a segment is a branch into k children and m steps of each on its own. At
 * the next timestep each child's x̂0 is judged, and one of them, random or the best, goes on. The last step always ends its segment; its
 * children are judged as they are, at timestep 0. After the segment of `lastBranch` no step is taken.
 *
 * A scorer that sees latents judges the children as soon as they are drawn, so that the next step is predicted for one of them alone.
 *
 * read: what an objective learns of a segment; tensors in it are kept, those of the segment end with it. Gives tensors of no graph.
 * Throws a UserError (`DATA`) when the judge gives no score for each candidate. Source: Liang et al. 2024, section 3.3; algorithm 4.
 */
export const rollout = <R>(input: RolloutInput, read: (segment: Segment) => R): Rollout<R> =>
  noGrad(() => scope(() => sample(input, read)));

function sample<R>(input: RolloutInput, read: (segment: Segment) => R): Rollout<R> {
  const { denoiser, process, initialLatents, randomness, settings, meter } = input;
  const { steps, candidates: k, firstBranch, innerSteps = 0, threshold, eta = 1, etaBefore } = settings;
  const { continueFrom = "random", judgeTimestep = "reached", marginSoftmax, judgeAgreement = 0 } = settings;
  if (!(firstBranch >= 0 && firstBranch < steps))
    throw new RangeError(`firstBranch is ${firstBranch}, must be in [0, ${steps})`);
  const { end } = branchRange(settings);
  const timesteps = process.timesteps(steps);
  const [prompts, ...latent] = initialLatents.shape as [number, ...number[]];
  const childRows = range(k * prompts).map((row) => row % prompts); // row = j·B + b
  const predictOne = denoiser.forRows(range(prompts));
  const predictAll = denoiser.forRows(childRows);

  let x = initialLatents; // [B, …] up to the first branch, then [k·B, …]
  let transitions: Transition[] = [];
  const found: Omit<Rollout<R>, "latents"> = { read: [], comparisons: [], strips: [] };

  const judgesLatents = input.scorer.sees === "latents";
  const branchesAt = (step: number): boolean =>
    step >= firstBranch && (step - firstBranch) % (innerSteps + 1) === 0;
  let last = 0; // the step that drew x

  // Judges the children of the open segment, which have come to `timestep`, has it read, and chooses those that go on.
  const endSegment = (timestep: number, predicted: Predicted, memory: Scope): readonly number[] => {
    const index = found.comparisons.length;
    const told = judgeTimestep === "reached" ? timestep : (transitions.at(-1) as Transition).t;
    const { scores, byJudge, pictures } = judgeCandidates(input, {
      xt: x,
      predicted,
      timestep: told,
      rows: childRows,
    });
    const least = typeof threshold === "number" ? threshold : (threshold[last] as number);
    const { doubtful, ...comparison } = withDoubt(
      compare(scores, least, { among: marginSoftmax }),
      byJudge,
      judgeAgreement,
    );
    const drawn = last < end - 1 ? randomness.choose(index, k, prompts) : undefined;
    const next = drawn && continueFrom === "best" ? comparison.win : drawn;
    found.comparisons.push({ ...comparison, doubtful, timestep, scores, next });
    found.read.push(memory.keep(read({ transitions, scores, comparison, index })));
    for (const [prompt, images] of pictures) {
      found.strips.push({
        ...{ prompt, comparison: index, timestep, images: memory.keep(images) },
        scores: scores.map((row) => row[prompt] as number),
        win: comparison.win[prompt] as number,
        lose: comparison.lose[prompt] as number,
        margin: comparison.margin[prompt] as number,
        valid: comparison.valid[prompt] as boolean,
        next: next?.[prompt],
      });
    }
    return next ?? [];
  };
  // Clean latents of children that no step has predicted yet.
  const predictNow =
    (timestep: number): Predicted =>
    (rows) => {
      meter?.count("unetSampling", rows.length * denoiser.samplePasses);
      const xt = rowsAt(x, rows);
      const output = denoiser.forRows(rows.map((row) => childRows[row] as number))(xt, timestep);
      return process.predict(xt, output, timestep).x0;
    };
  const rowsOf = (next: readonly number[]): Tensor =>
    tensor(
      next.map((j, b) => j * prompts + b),
      { dtype: "int64", device: x.device },
    );
  // Now, and not at the end of all steps: later ones need the room.
  const freeSegment = (): void =>
    disposeSegment(transitions, { read: found.read.at(-1), given: initialLatents });

  for (const [i, t] of timesteps.slice(0, end).entries()) {
    using memory = new Scope();
    const previous = process.previousTimestep(t, steps);
    const branch = branchesAt(i);
    const rows = x.shape[0] as number;
    meter?.count("unetSampling", rows * denoiser.samplePasses);
    const { x0, mean, std } = timed(meter, "sampling", () => {
      const output = (rows === prompts ? predictOne : predictAll)(x, t);
      return process.step(x, output, { t, previous, eta: i < firstBranch ? (etaBefore ?? eta) : eta });
    });
    if (i < firstBranch) {
      const next = memory.keep(sampleGaussian({ mean, std }, randomness.noise(i, x.shape)));
      if (i > 0) x.dispose(); // the first is the caller's
      x = next;
    } else {
      let from = x;
      let centre = mean;
      if (branch && i > firstBranch && !judgesLatents) {
        const chosen = rowsOf(endSegment(t, (rows) => rowsAt(x0, rows), memory));
        from = memory.keep(x.indexSelect(0, chosen));
        centre = mean.indexSelect(0, chosen);
        freeSegment();
      }
      if (branch) transitions = [];
      const drawnFrom = branch ? centre : centre.unflatten(0, [k, prompts]);
      const noise = randomness.noise(i, [k, prompts, ...latent]);
      x = memory.keep(sampleGaussian({ mean: drawnFrom, std }, noise).flatten(0, 1));
      last = i;
      transitions.push({ t, previous, branch, from, to: x, gaussian: { mean: memory.keep(centre), std } });
      if (judgesLatents && i < end - 1 && branchesAt(i + 1)) {
        const chosen = rowsOf(endSegment(previous, predictNow(previous), memory));
        const next = memory.keep(x.indexSelect(0, chosen));
        freeSegment();
        x = next;
      }
    }
    input.onStep?.(i + 1, steps);
  }
  {
    using memory = new Scope();
    const reached = timesteps[end];
    if (reached === undefined) endSegment(0, (rows) => rowsAt(x, rows), memory);
    else endSegment(reached, predictNow(reached), memory);
  }
  return { ...found, latents: x };
}

/** x [n, …] → [rows, …]. */
function rowsAt(x: Tensor, rows: readonly number[]): Tensor {
  const [first = 0] = rows;
  const isRange = rows.every((row, i) => row === first + i);
  if (isRange) return x.narrow(0, first, rows.length);
  return x.indexSelect(0, tensor([...rows], { dtype: "int64", device: x.device }));
}

/** Frees what a segment holds, but for what was read of it and what the caller gave. */
function disposeSegment(
  transitions: readonly Transition[],
  { read, given }: { read: unknown; given: Tensor },
): void {
  const held = new Set(transitions.flatMap(({ from, to, gaussian }) => [from, to, gaussian.mean]));
  held.delete(given);
  forEachTensor(read, (tensor) => void held.delete(tensor));
  for (const tensor of held) tensor.dispose();
}

/** The first step that branches, and the one at whose timestep the last children are judged, `steps` for finished ones. */
export function branchRange({ steps, firstBranch, lastBranch, innerSteps = 0 }: BranchSettings): {
  first: number;
  end: number;
} {
  const segments = Math.floor(((lastBranch ?? steps - 1) - firstBranch) / (innerSteps + 1)) + 1;
  return { first: firstBranch, end: Math.min(steps, firstBranch + segments * (innerSteps + 1)) };
}

type BranchSettings = Pick<RolloutSettings, "steps" | "firstBranch" | "lastBranch" | "innerSteps">;

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
