import type { Tensor } from "@spo/torch";
import type { PreferenceModel } from "../../spm/preference-model.js";
import type { NoisedPairs } from "./noised-pairs.js";
import type { PairLossInput } from "./pair-loss.js";
import type { StepPairs } from "./training-pairs.js";

/** How often the model is right, by timestep, on pairs that it does not learn from. */
export interface Accuracy {
  /** Makes the pairs, where they may stay in memory. */
  prepare(): Promise<void>;
  /** By `accuracy/t=…`; NaN where no pair counts, or a score is not finite. onPairs: told of pairs at timesteps. */
  measure(
    model: PreferenceModel,
    onPairs: (done: number, total: number) => void,
  ): Promise<Record<string, number>>;
}

/** Loss of a part of a batch, and scores of both sides of its n pairs. */
export type PartLoss = Readonly<Record<"loss" | "score0" | "score1", Tensor>>;

/** Where a training's noised pairs come from. */
export interface SpmSource {
  /** Digests of what it reads, for the log. */
  readonly facts: Readonly<Record<string, string | number>>;
  readonly accuracy?: Accuracy;
  /** Makes what is made before the first step, and tells how many pairs are. */
  prepare(): AsyncGenerator<{ done: number; total: number }>;
  /** The pairs of a step: a function of the seed and the step. */
  pairsOf(step: number): StepPairs;
  /** What is made small, of a part of a batch; `pairLoss` where it is absent. */
  loss?(model: PreferenceModel, input: PairLossInput, pairs: NoisedPairs): PartLoss;
  /** The network's input of either side; place: of the draws of the training's augmentation. */
  inputs(pairs: NoisedPairs, place: readonly number[]): [Tensor, Tensor];
  close(): Promise<void>;
}
