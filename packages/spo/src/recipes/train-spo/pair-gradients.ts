import { cat, scope, type Tensor, zerosLike } from "@spo/torch";
import { backward, ratioFigures, type SpoBatch, spoBatchLoss } from "../../objectives/spo-loss.js";
import { type StepPairs, selectPairs } from "../../objectives/step-pairs.js";
import { microBatches } from "../training/micro-batches.js";

/** What the gradients of an update's pairs are computed from. */
export interface PairGradientsInput extends Omit<SpoBatch, "pairs"> {
  /** Of the round. */
  pairs: StepPairs;
  /** Which of them this update learns from. */
  places: readonly number[];
  /** Pairs of one backward pass. */
  microBatch: number;
  /** The parameters that learn. */
  parameters: readonly Tensor[];
  /** The loss that backward starts from. */
  scale?: (loss: Tensor) => Tensor;
}

/** An update's loss, and log p_θ − log p_ref of each of its pairs before clipping. */
export interface PairGradients {
  loss: number;
  logRatioWin: number[];
  logRatioLose: number[];
  /** Mean of ‖policy‖/‖reference‖ of the predictions. */
  normRatio: number;
}

/**
 * Adds the gradient of the pairs' mean loss to the parameters' `grad`, a micro-batch at a time.
 *
 * Where no pair has a gradient it is zero. That is still a step: the optimizer's moments decay. Source: algorithm 5.
 */
export function pairGradients({
  pairs,
  places,
  microBatch,
  parameters,
  scale = (loss) => loss,
  ...objective
}: PairGradientsInput): PairGradients {
  const found: PairGradients = { loss: 0, logRatioWin: [], logRatioLose: [], normRatio: 0 };
  for (const { start, size, share } of microBatches(places.length, microBatch)) {
    scope(() => {
      const batch = { ...objective, pairs: selectPairs(pairs, places.slice(start, start + size)) };
      const result = spoBatchLoss(batch);
      const part = result.loss.mul(share);
      // Read together, because each reading waits for the device.
      const norm = result.normRatios.mean().reshape([1]);
      const read = cat([part.reshape([1]), result.logRatioWin, result.logRatioLose, norm]).toNumbers();
      const [win, lose] = [read.slice(1, 1 + size), read.slice(1 + size, 1 + 2 * size)];
      found.loss += read[0] as number;
      found.normRatio += share * (read.at(-1) as number);
      found.logRatioWin.push(...win);
      found.logRatioLose.push(...lose);
      // Pairs with both sides outside the clip have no gradient, so backward is not needed; but for that of the norms.
      const { normPenalty = 0, clip } = batch;
      if (normPenalty > 0 || ratioFigures(win, lose, clip).withoutGradient < 1) backward(scale(part), batch);
    });
  }
  scope(() => {
    for (const parameter of parameters) parameter.grad ??= zerosLike(parameter);
  });
  return found;
}
