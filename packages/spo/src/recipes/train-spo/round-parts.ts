// A round that is sampled in parts: by several processes, or prompt by prompt.
import { cat, keep, noGrad, scope, type Tensor, zeros } from "@spo/torch";
import type { World } from "@spo/torch/distributed";
import { concatPairs, disposePairs, type StepPairs } from "../../objectives/step-pairs.js";
import { rowsOf } from "../../rollout/randomness.js";
import type { CandidateStrip, StepComparison } from "../../rollout/transitions.js";
import type { SampledRound } from "./sample-round.js";

/** What was sampled of some of a round's prompts. rows: which ones; what was found counts them from 0. */
export interface RoundFound {
  rows: readonly number[];
  found: SampledRound;
}

/**
 * The prompts of a round that this process samples, by what it samples together. They go round the ranks in order.
 *
 * `exact`: each alone, because the bits of a sample depend on how many are computed at once.
 */
export function roundParts(
  prompts: number,
  { rank, size }: Pick<World, "rank" | "size">,
  reduce: "sum" | "exact",
): number[][] {
  const own = Array.from({ length: Math.ceil((prompts - rank) / size) }, (_, i) => rank + i * size);
  return reduce === "exact" ? own.map((row) => [row]) : [own];
}

/**
 * The pairs and comparisons of the whole round, alike in every process: in the order of a process that samples all prompts at once. The
 * strips are those of this process. Takes over the tensors of the parts.
 */
export async function joinRound(world: World, parts: readonly RoundFound[]): Promise<SampledRound> {
  const [first, ...others] = parts;
  if (world.size === 1 && first && others.length === 0) return first.found;
  const strips = parts.flatMap(({ rows, found }) =>
    found.strips.map((strip) => ({ ...strip, prompt: rows[strip.prompt] as number })),
  );
  const compared = (
    await world.gather(parts.map(({ rows, found }) => ({ rows, comparisons: found.comparisons })))
  ).flat();
  return {
    comparisons: joinComparisons(compared),
    pairs: await gatherPairs(world, parts),
    strips: strips.sort(byStepAndPrompt),
  };
}

/** The order in which one process that samples all prompts at once makes strips. */
export const byStepAndPrompt = (
  a: Pick<CandidateStrip, "comparison" | "prompt">,
  b: Pick<CandidateStrip, "comparison" | "prompt">,
): number => a.comparison - b.comparison || a.prompt - b.prompt;

/** Comparisons of some of the prompts → those of all. */
function joinComparisons(
  parts: readonly { rows: readonly number[]; comparisons: readonly StepComparison[] }[],
): StepComparison[] {
  const [first] = parts;
  return (first?.comparisons ?? []).map(({ timestep, scores, doubtful, next }, c) => {
    const whole = <T>(of: (comparison: StepComparison) => readonly T[]): T[] => {
      const all: T[] = [];
      for (const { rows, comparisons } of parts)
        for (const [i, value] of of(comparisons[c] as StepComparison).entries())
          all[rows[i] as number] = value;
      return all;
    };
    return {
      timestep,
      win: whole((of) => of.win),
      lose: whole((of) => of.lose),
      margin: whole((of) => of.margin),
      valid: whole((of) => of.valid),
      finite: whole((of) => of.finite),
      scores: scores.map((_, j) => whole((of) => of.scores[j] as number[])),
      ...(doubtful && { doubtful: whole((of) => of.doubtful as readonly boolean[]) }),
      ...(next && { next: whole((of) => of.next as readonly number[]) }),
    };
  });
}

/** The pairs of all processes, by comparison, then by step, then by prompt. Every process gets all, so any can learn from any. */
async function gatherPairs(world: World, parts: readonly RoundFound[]): Promise<StepPairs> {
  const mine = keep(
    noGrad(() =>
      concatPairs(
        parts.map(({ rows, found: { pairs } }) => ({
          ...pairs,
          prompts: pairs.prompts.map((row) => rows[row] as number),
        })),
      ),
    ),
  );
  for (const { found } of parts) disposePairs(found.pairs);
  const { latentsWin, latentsLose, nextWin, nextLose, ...facts } = mine;
  const isOneHandle = latentsWin === latentsLose;
  const all = await world.gather(facts);
  const most = Math.max(...all.map(({ size }) => size));
  const places = all
    .flatMap((of, rank) => of.timesteps.map((timestep, i) => ({ of, i, timestep, row: rank * most + i })))
    .sort(
      (a, b) =>
        (a.of.comparisons[a.i] as number) - (b.of.comparisons[b.i] as number) ||
        b.timestep - a.timestep ||
        (a.of.prompts[a.i] as number) - (b.of.prompts[b.i] as number),
    );
  const list = <T>(of: (rank: typeof facts) => readonly T[]): T[] =>
    places.map((place) => of(place.of)[place.i] as T);
  const tensors = [latentsWin, nextWin, nextLose, ...(isOneHandle ? [] : [latentsLose])];
  const sent = keep(noGrad(() => scope(() => padded(cat(tensors, 1), most))));
  disposePairs(mine);
  const gathered = most > 0 ? await world.allGather(sent) : sent.clone();
  sent.dispose();
  const channels = (gathered.shape[1] as number) / tensors.length;
  const [win, next, nextLast, lose] = keep(
    noGrad(() =>
      scope(() => {
        const rows = rowsOf(
          gathered,
          places.map(({ row }) => row),
        );
        return tensors.map((_, i) => rows.narrow(1, i * channels, channels).contiguous());
      }),
    ),
  ) as [Tensor, Tensor, Tensor, Tensor?];
  gathered.dispose();
  return {
    size: places.length,
    timesteps: list((of) => of.timesteps),
    prompts: list((of) => of.prompts),
    latentsWin: win,
    latentsLose: lose ?? win,
    nextWin: next,
    nextLose: nextLast,
    shared: list((of) => of.shared),
    margins: list((of) => of.margins),
    comparisons: list((of) => of.comparisons),
  };
}

/** [n, …] → [most, …], zeros below. */
function padded(of: Tensor, most: number): Tensor {
  const [n, ...rest] = of.shape as [number, ...number[]];
  return n === most
    ? of.clone()
    : cat([of, zeros([most - n, ...rest], { dtype: of.dtype, device: of.device })]);
}
