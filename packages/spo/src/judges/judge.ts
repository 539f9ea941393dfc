import type { WorkMeter } from "@spo/records";
import { type ScoreProcessor, scorePixels } from "@spo/scorers";
import { cat, type Device, scope, type Tensor, tensor } from "@spo/torch";
import type { StepAwarePreferenceModel } from "../spm/spm.js";

/** What a judge gets: n candidates of one denoising step. */
export interface Candidates {
  /** The candidates themselves, at the noise level of `timestep`. [n, c, h, w], scaled latents. */
  xt: Tensor;
  /** The clean latents predicted from them; at timestep 0 the same as `xt`. [n, c, h, w] */
  x0: Tensor;
  /** In [0, 1000); 0 for finished images. */
  timestep: number;
  /** Decoded x0, [n, 3, H, W] about [−1, 1]. Decodes at the first call only, so that a judge of latents costs no decode. */
  image(): Tensor;
}

/**
 * Scores candidates: a preference model on decoded predictions, one on latents, or a plain reward that ignores the timestep.
 *
 * `Prepared` is what it computes once for a list of prompts, as tensors alone or in arrays, Maps and plain objects.
 */
export interface StepAwareJudge<Prepared = unknown> {
  /** What it can judge; anything if absent. Checked before a training begins. */
  readonly requires?: { family?: string; latentShape?: LatentShape };
  /**
   * Called before each round of a training. A judge that draws random numbers must draw the same ones when a round is repeated, after a
   * kill for example.
   */
  beginRound?(round: number): void;
  prepare(prompts: readonly string[], meter?: WorkMeter): Prepared;
  /** Scores, higher is better, float32 [n]. rows[i]: which of the prepared prompts candidate i belongs to. */
  score(candidates: Candidates, prepared: Prepared, rows: readonly number[], meter?: WorkMeter): Tensor;
}

/** [c, h, w] */
export type LatentShape = readonly [channels: number, height: number, width: number];

/** The model whose candidates are to be judged. */
export interface JudgeContext {
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

/** Prompts whose text features are computed at a time. */
const TEXTS = 256;

/** The step-aware preference model on decoded predictions. */
export class SpmJudge implements StepAwareJudge<Tensor> {
  readonly spm: StepAwarePreferenceModel;
  readonly #processor: ScoreProcessor;
  readonly #tokenize: (prompts: readonly string[]) => Tensor;

  /** tokenize: prompts → ids int64 [n, L]. */
  constructor(
    spm: StepAwarePreferenceModel,
    processor: ScoreProcessor,
    tokenize: (prompts: readonly string[]) => Tensor,
  ) {
    this.spm = spm;
    this.#processor = processor;
    this.#tokenize = tokenize;
  }

  /** → text features [prompts, projection]. */
  prepare(prompts: readonly string[], meter?: WorkMeter): Tensor {
    return scope(() => this.prepareIds(this.#tokenize(prompts), meter));
  }

  /** ids int64 [prompts, L] → text features [prompts, projection]. */
  prepareIds(ids: Tensor, meter?: WorkMeter): Tensor {
    meter?.count("judgeText", ids.shape[0] as number);
    return scope(() => cat(ids.split(TEXTS).map((part) => this.spm.textFeatures(part))));
  }

  score(candidates: Candidates, prepared: Tensor, rows: readonly number[], meter?: WorkMeter): Tensor {
    return scope(() => {
      const { dtype, device } = this.spm.visual_projection.weight;
      const pixels = scorePixels(candidates.image(), this.#processor).to({ dtype, device });
      meter?.count("judgeImage", rows.length);
      const features = this.spm.imageFeatures(pixels, candidates.timestep);
      const text = prepared.indexSelect(0, tensor([...rows], { dtype: "int64", device }));
      return this.spm.scores(features, text).to({ dtype: "float32" });
    });
  }
}
