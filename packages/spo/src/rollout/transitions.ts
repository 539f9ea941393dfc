// What a rollout gives to an objective: all that it drew since a branch, and how the candidates were judged.
import type { Gaussian } from "@spo/diffusion";
import type { Tensor } from "@spo/torch";
import type { Comparison } from "./compare.js";

/** One sampling step of all k children of each of B prompts. */
export interface Transition {
  /** The timesteps that it led from and to. */
  t: number;
  previous: number;
  /** Whether the children part here: they have one x_t a prompt. */
  branch: boolean;
  /** x_t, [B, c, h, w] at a branch, else [k·B, c, h, w], row j·B + b. */
  from: Tensor;
  /** What was drawn, [k·B, c, h, w]. */
  to: Tensor;
  /** What it was drawn from: the mean has a row for each row of `from`. */
  gaussian: Gaussian;
}

/** The steps from a branch to the timestep where the children were judged, by a scope that ends after they are read. */
export interface Segment {
  /** In the order of sampling. */
  transitions: readonly Transition[];
  /** Scores of the children, [k][B]. */
  scores: readonly (readonly number[])[];
  /** Best and worst of each prompt, and whether they are far enough apart. */
  comparison: Comparison;
  /** Number of the comparison in its rollout, from 0. */
  index: number;
}

/** A comparison as it happened. */
export interface StepComparison extends Comparison {
  /** Timestep at which the candidates were judged; 0 after the last step. */
  timestep: number;
  /** [k][B] */
  scores: number[][];
  /** Pairs that are left out because the judges disagree; absent where they are not asked one by one. */
  doubtful?: readonly boolean[];
  /** The candidate of each prompt that went on; none after the last step. */
  next?: readonly number[];
}

/** The candidates of one prompt in one comparison, kept as images for people to look at. */
export interface CandidateStrip {
  prompt: number;
  comparison: number;
  timestep: number;
  /** Decoded predictions [k, 3, H, W], about [−1, 1]. */
  images: Tensor;
  scores: number[];
  win: number;
  lose: number;
  /** p_best − p_worst; NaN where a score is not finite. */
  margin: number;
  valid: boolean;
  next?: number;
}
