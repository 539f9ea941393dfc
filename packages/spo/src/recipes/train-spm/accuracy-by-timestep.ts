import { pairAccuracy } from "../../objectives/spm-loss.js";

/** Scores of both images of pairs, and how far the first is the preferred one, in [0, 1]. */
export interface ScoredPairs {
  score0: readonly number[];
  score1: readonly number[];
  label0: readonly number[];
}

/** Share of held-out pairs whose preferred image has the higher score, by timestep, accumulated over batches. */
export class AccuracyByTimestep {
  readonly #found: Map<number, { score0: number[]; score1: number[]; label0: number[] }>;
  readonly #withoutTies: boolean;

  /** withoutTies: pairs whose label is ½ do not count; else each counts as half a right answer. */
  constructor(timesteps: readonly number[], { withoutTies }: { withoutTies: boolean }) {
    this.#found = new Map(timesteps.map((t) => [t, { score0: [], score1: [], label0: [] }]));
    this.#withoutTies = withoutTies;
  }

  /** Throws a RangeError for a timestep that was not announced. */
  add(timestep: number, { score0, score1, label0 }: ScoredPairs): void {
    const of = this.#found.get(timestep);
    if (!of) throw new RangeError(`timestep ${timestep} is not measured`);
    for (const [i, label] of label0.entries()) {
      if (this.#withoutTies && label === 0.5) continue;
      of.score0.push(score0[i] as number);
      of.score1.push(score1[i] as number);
      of.label0.push(label);
    }
  }

  /** By `accuracy/t=…`; NaN where no pair counts. Source: algorithm 3c, evaluation. */
  metrics(): Record<string, number> {
    return Object.fromEntries(
      [...this.#found].map(([t, { score0, score1, label0 }]) => [
        `accuracy/t=${t}`,
        pairAccuracy(score0, score1, label0),
      ]),
    );
  }
}
