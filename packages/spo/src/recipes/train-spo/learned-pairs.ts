// What the updates of a round found of its pairs, by the timestep at which they were judged.
import { mean } from "@spo/records";
import { ratioFigures } from "../../objectives/spo-loss.js";
import type { StepPairs } from "../../objectives/step-pairs.js";
import type { PairGradients } from "./pair-gradients.js";

/** Gathers the log ratios of a round's pairs, update by update. */
export class LearnedPairs {
  readonly #found: { comparison: number; win: number; lose: number }[] = [];

  /** places: of the pairs of one update, in the order of its log ratios. */
  add(
    { comparisons }: Pick<StepPairs, "comparisons">,
    places: readonly number[],
    { logRatioWin, logRatioLose }: Pick<PairGradients, "logRatioWin" | "logRatioLose">,
  ): void {
    for (const [i, place] of places.entries())
      this.#found.push({
        comparison: comparisons[place] as number,
        win: logRatioWin[i] as number,
        lose: logRatioLose[i] as number,
      });
  }

  /**
   * By timestep that had pairs: how many, the share that the policy tells apart as the judge did (implicit accuracy, as in `ratioFigures`),
   * and the mean |log p_θ − log p_ref| of both sides before clipping; null where none is finite.
   *
   * timesteps: by comparison of the rollout.
   */
  byTimestep(timesteps: readonly number[], clip: number) {
    return timesteps.flatMap((timestep, comparison) => {
      const pairs = this.#found.filter((pair) => pair.comparison === comparison);
      if (pairs.length === 0) return [];
      const sound = pairs.filter(({ win, lose }) => Number.isFinite(win) && Number.isFinite(lose));
      const [wins, loses] = [sound.map(({ win }) => win), sound.map(({ lose }) => lose)];
      return {
        timestep,
        pairs: pairs.length,
        accuracy: sound.length > 0 ? ratioFigures(wins, loses, clip).accuracy : null,
        logRatio: sound.length > 0 ? mean([...wins, ...loses].map(Math.abs)) : null,
      };
    });
  }
}
