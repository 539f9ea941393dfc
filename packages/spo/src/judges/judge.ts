import type { TextToImage } from "@spo/diffusion";
import type { WorkMeter } from "@spo/records";
import type { Device, Module, Tensor } from "@spo/torch";

/** What a judge gets: n candidates of one denoising step. */
export interface Candidates {
  /** The candidates themselves, at the noise level of `timestep`. [n, c, h, w], scaled latents. */
  xt: Tensor;
  /**
   * The clean latents predicted from them; of finished ones the same as `xt`. [n, c, h, w]. Computed at the first access where the scorer
   * sees latents.
   */
  readonly x0: Tensor;
  /** In [0, 1000); 0 for finished images. */
  timestep: number;
  /** Decoded x0, [n, 3, H, W] about [−1, 1]. Decodes at the first call only, so that a judge of latents costs no decode. */
  image(): Tensor;
}

/** Scores candidates of the prompts that it was made for. */
export interface CandidateScorer {
  /**
   * When it judges: where the candidates' clean latents are predicted, which takes the model a pass for each of them (the default); or, for
   * one that looks at `xt` alone, as soon as they are drawn, so that only the one that goes on is predicted.
   */
  readonly sees?: "predictions" | "latents";
  /**
   * Scores, higher is better, float32 [n]; NaN for a candidate without one. A score does not depend on the other candidates.
   *
   * rows[i]: which of the prompts candidate i belongs to.
   */
  score(candidates: Candidates, rows: readonly number[], meter?: WorkMeter): Tensor;
  /** Of several judges in one: the score of each by its weight, float32 [m, n]. Their sum is the score. */
  scoreByJudge?(candidates: Candidates, rows: readonly number[], meter?: WorkMeter): Tensor;
  /** Frees what it holds of the prompts. */
  dispose?(): void;
}

/** Candidates that a judge is shown at a time, unless told otherwise. */
export const JUDGE_CHUNK = 16;

/** Some of a round's prompts, judged apart from the others: by one of several processes, or one after the other. */
export interface RoundPart {
  /** How many prompts the round has in all, and candidates of each. */
  prompts: number;
  candidates: number;
  /** Which of the round's prompts are judged next, in [0, prompts). */
  rows: readonly number[];
}

/** Judges candidates: a preference model on decoded predictions, one on latents, or a plain reward that ignores the timestep. */
export interface StepAwareJudge {
  /** What it can judge; anything if absent. Checked before a training begins. */
  readonly requires?: { family?: string; latentShape?: LatentShape };
  /** Its networks, which a training may put elsewhere while nothing is judged. Absent: they stay where they are. */
  readonly modules?: readonly Module[];
  /**
   * Called before each round of a training. A judge that draws random numbers must draw the same ones when a round is repeated, after a
   * kill for example.
   *
   * part: where only some of the round's prompts are judged next; then it is called before each part. A judge that draws random numbers
   * must draw for a prompt what it would draw if all were judged together.
   */
  beginRound?(round: number, part?: RoundPart): void;
  /** Reads the prompts once. Tensors that the scorer holds go through `keep`. */
  prepare(prompts: readonly string[], meter?: WorkMeter): CandidateScorer;
}

/** [c, h, w] */
export type LatentShape = readonly [channels: number, height: number, width: number];

/** The model whose candidates are to be judged. */
export interface JudgeContext {
  /** Its text encoders, denoiser and VAE, for a judge that shares them without changing them. */
  pipeline: TextToImage;
  /** Its name: `sd15`, `sdxl`. */
  family: string;
  /** Of one candidate. */
  latentShape: LatentShape;
  /** Height and width of a decoded one. */
  imageSize: readonly [height: number, width: number];
  /** Of the training; draw from nothing else. */
  seed: number;
  /** Where the candidates are, and their scores may be. */
  device: Device;
}
