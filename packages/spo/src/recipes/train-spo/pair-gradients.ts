import { cat, scope, type Tensor } from "@spo/torch";
import { backward, ratioFigures, type SpoBatch, spoBatchLoss } from "../../objectives/spo-loss.js";
import { type StepPairs, selectPairs } from "../../objectives/step-pairs.js";

/** What the gradients of some of an update's pairs are computed from. */
export interface PairGradientsInput extends Omit<SpoBatch, "pairs"> {
  /** Of the round. */
  pairs: StepPairs;
  /** Those of one backward pass. */
  places: readonly number[];
  /** Of the update's pairs; default all. */
  share?: number;
  /** The loss that backward starts from. */
  scale?: (loss: Tensor) => Tensor;
}

/** The loss of an update or of its part, by its share, and log p_θ − log p_ref of each of its pairs before clipping. */
export interface PairGradients {
  loss: number;
  logRatioWin: number[];
  logRatioLose: number[];
  /** Mean of ‖policy‖/‖reference‖ of the predictions, by its share. */
  normRatio: number;
}

/**
 * Adds the gradient of the pairs' mean loss, by its share, to the parameters' `grad`; none where no pair has one. Source: algorithm 5.
 */
export function pairGradients({
  pairs,
  places,
  share = 1,
  scale = (loss) => loss,
  ...objective
}: PairGradientsInput): PairGradients {
  const size = places.length;
  return scope(() => {
    const batch = { ...objective, pairs: selectPairs(pairs, places) };
    const result = spoBatchLoss(batch);
    const part = result.loss.mul(share);
    // Read together, because each reading waits for the device.
    const norm = result.normRatios.mean().reshape([1]);
    const read = cat([part.reshape([1]), result.logRatioWin, result.logRatioLose, norm]).toNumbers();
    const [win, lose] = [read.slice(1, 1 + size), read.slice(1 + size, 1 + 2 * size)];
    // Pairs with both sides outside the clip have no gradient, so backward is not needed; but for that of the norms.
    const { normPenalty = 0, clip } = batch;
    if (normPenalty > 0 || ratioFigures(win, lose, clip).withoutGradient < 1) backward(scale(part), batch);
    return {
      loss: read[0] as number,
      logRatioWin: win,
      logRatioLose: lose,
      normRatio: share * (read.at(-1) as number),
    };
  });
}

/** An update of its parts, in their order. */
export const joinGradients = (parts: readonly PairGradients[]): PairGradients => ({
  loss: parts.reduce((sum, part) => sum + part.loss, 0),
  logRatioWin: parts.flatMap((part) => part.logRatioWin),
  logRatioLose: parts.flatMap((part) => part.logRatioLose),
  normRatio: parts.reduce((sum, part) => sum + part.normRatio, 0),
});
