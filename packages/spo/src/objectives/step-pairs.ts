import { cat, scope, type Tensor, tensor } from "@spo/torch";
import type { Segment } from "../rollout/transitions.js";

/**
 * Win-lose pairs of single denoising steps, P of them; row i of everything belongs to pair i.
 *
 * At a branch the two sides start from the same x_t, and the tensors of both sides are one handle where all pairs do.
 */
export interface StepPairs {
  size: number;
  /** [P] the step went from this timestep, a real number, to the next smaller one of the sampling. */
  timesteps: number[];
  /** Row of the prompt in the batch that was sampled. */
  prompts: number[];
  /** x_t of both sides, [P, c, h, w]. */
  latentsWin: Tensor;
  latentsLose: Tensor;
  /** x_{t−1} of both sides, [P, c, h, w]. */
  nextWin: Tensor;
  nextLose: Tensor;
  /** Whether the two sides' x_t is the same. */
  shared: boolean[];
  /** p_best − p_worst of the comparison that made the pair. */
  margins: number[];
  /** Which comparison of the rollout made it. */
  comparisons: number[];
}

/** SPO's reading of a segment: its winner's and loser's steps, of the prompts whose comparison is valid. Source: algorithm 4. */
export function stepPairs({ transitions, comparison, index }: Segment): StepPairs {
  const { win, lose, margin, valid } = comparison;
  const prompts = valid.flatMap((isValid, b) => (isValid ? [b] : []));
  const constant = <T>(value: T): T[] => prompts.map(() => value);
  return concatPairs(
    transitions.map(({ t, from, to, branch }) => {
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
        comparisons: constant(index),
      };
    }),
  );
}

/** The pairs at the given places, in that order. */
export function selectPairs(pairs: StepPairs, places: readonly number[]): StepPairs {
  return scope(() => {
    const index = tensor([...places], { dtype: "int64", device: pairs.latentsWin.device });
    const rows = (of: Tensor): Tensor => of.indexSelect(0, index);
    const pick = <T>(list: readonly T[]): T[] => places.map((i) => list[i] as T);
    const latentsWin = rows(pairs.latentsWin);
    return {
      size: places.length,
      timesteps: pick(pairs.timesteps),
      prompts: pick(pairs.prompts),
      latentsWin,
      latentsLose: isOneHandle(pairs) ? latentsWin : rows(pairs.latentsLose),
      nextWin: rows(pairs.nextWin),
      nextLose: rows(pairs.nextLose),
      shared: pick(pairs.shared),
      margins: pick(pairs.margins),
      comparisons: pick(pairs.comparisons),
    };
  });
}

/** All pairs of several rollouts. Throws when there is none. */
export function concatPairs(
  parts: readonly StepPairs[],
  /** Added to the prompt rows of each part. Default: the parts share one list of prompts. */
  promptOffsets: readonly number[] = parts.map(() => 0),
): StepPairs {
  const first = parts[0];
  if (!first) throw new Error("concatPairs: there is nothing to concatenate");
  return scope(() => {
    const lists = <T>(of: (part: StepPairs) => T[]): T[] => parts.flatMap(of);
    const tensors = (of: (part: StepPairs) => Tensor): Tensor => cat(parts.map(of));
    const latentsWin = tensors((part) => part.latentsWin);
    return {
      size: parts.reduce((sum, part) => sum + part.size, 0),
      timesteps: lists((part) => part.timesteps),
      prompts: parts.flatMap((part, i) => part.prompts.map((row) => row + (promptOffsets[i] as number))),
      latentsWin,
      latentsLose: parts.every(isOneHandle) ? latentsWin : tensors((part) => part.latentsLose),
      nextWin: tensors((part) => part.nextWin),
      nextLose: tensors((part) => part.nextLose),
      shared: lists((part) => part.shared),
      margins: lists((part) => part.margins),
      comparisons: lists((part) => part.comparisons),
    };
  });
}

const isOneHandle = ({ latentsWin, latentsLose }: StepPairs): boolean => latentsWin === latentsLose;

/** Frees the tensors of pairs that were kept. */
export function disposePairs({ latentsWin, latentsLose, nextWin, nextLose }: StepPairs): void {
  for (const tensor of [latentsWin, latentsLose, nextWin, nextLose]) tensor.dispose();
}
