import { warmupConstant, warmupCosine, warmupLinear } from "@spo/torch";

/** How a learning rate changes in the course of a training. */
export interface LearningRateSettings {
  /** The largest. */
  lr: number;
  /** The position at which the rate has risen to `lr`, in a line from 0; 0: it begins there. */
  warmup: number;
  /** What comes after the warm-up: the same to the end, or a fall to 0 in a line or along half a cosine. */
  decay: "constant" | "linear" | "cosine";
  /** The position at which the rate has fallen to 0. */
  total: number;
}

/**
 * The learning rate of an update, as a function of its position alone: a resumed run needs no state of a schedule.
 *
 * position: in the unit of `warmup` and `total`, updates or rounds; a fraction is a place within one. The first update of a recipe that
 * counts updates is at 0, so a warm-up makes its rate 0, as in diffusers' `get_scheduler`.
 */
export function learningRateAt(position: number, { lr, warmup, decay, total }: LearningRateSettings): number {
  switch (decay) {
    case "constant":
      return lr * warmupConstant(position, { warmup });
    case "linear":
      return lr * warmupLinear(position, { warmup, total });
    case "cosine":
      return lr * warmupCosine(position, { warmup, total });
  }
}
