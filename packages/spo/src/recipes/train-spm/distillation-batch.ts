// How much of what a student is shown at a time.
import type { TrainSpmConfig } from "./train-spm-config.js";

/** Prompts of one rollout, at most; each is sampled from two noises. */
export const PROMPTS = 4;
/** Rollouts that are in memory together and mixed, where there is no bank. */
export const WINDOW = 4;

/** Pairs of a batch that are images of a preference set. */
export const imagesOf = ({
  pairs,
  batch,
  imageShare,
}: Pick<TrainSpmConfig, "pairs" | "batch" | "imageShare">): number =>
  pairs.length > 0 ? Math.round(imageShare * batch) : 0;
