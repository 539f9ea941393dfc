// Watches how many pairs the rounds give, and warns when there are none.

import { mean } from "@spo/records";
import { UserError } from "@spo/torch";
import type { StepComparison } from "../../rollout/transitions.js";

/** Rounds in a row without a pair after which the warning is repeated: often at first, then less and less. */
const SAID_AFTER = [1, 3, 10, 30, 100, 300, 1000, 3000];

/** A training stops after so many judged timesteps in a row without one finite score. */
const MOST_SILENT = 10;

/** Share of comparisons that a threshold is proposed for. */
const WANTED_YIELD = 0.25;

export class PairWatch {
  readonly #threshold: string;
  readonly #candidates: number;
  #empty = 0;
  #silent = 0;
  #longest = 0;

  constructor({
    threshold,
    thresholdMax,
    candidates,
  }: {
    threshold: number;
    thresholdMax?: number | null;
    candidates: number;
  }) {
    this.#threshold = thresholdMax ? `${threshold} to ${thresholdMax}` : String(threshold);
    this.#candidates = candidates;
  }

  /** Throws a UserError (`NUMERIC`) once the judge has given no finite score at ten judged timesteps in a row. */
  requireScores(where: string): void {
    if (this.#longest < MOST_SILENT) return;
    throw new UserError(
      `No score of the judge was finite at ${this.#longest} judged timesteps in a row, up to ${where}.`,
      {
        code: "NUMERIC",
        hint: "If the model has run away, lower optimizer.lr; else the judge is broken. Checkpoints from before are kept.",
      },
    );
  }

  /** The comparisons of a round → warnings for the user. */
  see(comparisons: readonly StepComparison[]): string[] {
    for (const { finite } of comparisons) {
      this.#silent = finite.includes(true) ? 0 : this.#silent + 1;
      this.#longest = Math.max(this.#longest, this.#silent);
    }
    const told = notFinite(comparisons);
    this.#empty = comparisons.some(({ valid }) => valid.includes(true)) ? 0 : this.#empty + 1;
    if (SAID_AFTER.includes(this.#empty)) told.push(this.#noPairs(comparisons));
    return told;
  }

  #noPairs(comparisons: readonly StepComparison[]): string {
    const margins = comparisons.flatMap(({ margin }) => margin.filter(Number.isFinite)).sort((a, b) => a - b);
    const rounds = this.#empty === 1 ? "this round" : `${this.#empty} rounds in a row`;
    if (margins.length === 0) return `no pair in ${rounds}: no comparison had finite scores`;
    const spreads = comparisons.flatMap(({ scores, finite }) =>
      finite.flatMap((all, b) => (all ? [spread(scores.map((row) => row[b] as number))] : [])),
    );
    const largest = margins.at(-1) as number;
    const proposed = margins[Math.floor((1 - WANTED_YIELD) * (margins.length - 1))] as number;
    return [
      `no pair above the threshold ${this.#threshold} in ${rounds}: the scores of one step's candidates spread by ${short(mean(spreads))} (standard deviation), their largest preference gap was ${short(largest)}.`,
      largest === 0
        ? "The judge gives all candidates the same score: it cannot tell them apart."
        : `A threshold of ${short(proposed)} would make pairs of a quarter of the comparisons; more than ${this.#candidates} candidates make larger gaps, and so does a judge that is surer of itself.`,
    ].join(" ");
  }
}

/** By timestep: the comparisons, those that gave a pair, the mean margin, and the spread of the scores of one x_t. */
export function summarise(comparisons: readonly StepComparison[]) {
  return comparisons.map(({ timestep, margin, valid, finite, scores, doubtful }) => {
    const sound = (values: readonly number[]): number[] => values.filter((_, b) => finite[b]);
    const spreads = sound(margin.map((_, b) => spread(scores.map((row) => row[b] as number))));
    return {
      timestep,
      pairs: valid.length,
      valid: valid.filter(Boolean).length,
      margin: meanOrNull(sound(margin)),
      spread: meanOrNull(spreads),
      notFinite: finite.filter((all) => !all).length,
      ...(doubtful && { doubtful: doubtful.filter(Boolean).length }),
    };
  });
}

const meanOrNull = (values: readonly number[]): number | null => (values.length > 0 ? mean(values) : null);

function notFinite(comparisons: readonly StepComparison[]): string[] {
  const all = comparisons.flatMap(({ finite }) => finite);
  const bad = all.filter((sound) => !sound).length;
  const first = comparisons.find(({ finite }) => finite.includes(false));
  if (!first) return [];
  return [
    `scores that are not finite in ${bad} of ${all.length} comparisons, at timestep ${first.timestep} first: no pairs of those`,
  ];
}

/** Standard deviation. */
function spread(scores: readonly number[]): number {
  const centre = mean(scores);
  return Math.sqrt(mean(scores.map((score) => (score - centre) ** 2)));
}

const short = (value: number): string => String(Number(value.toPrecision(2)));
