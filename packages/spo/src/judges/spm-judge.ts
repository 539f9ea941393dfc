import type { WorkMeter } from "@spo/records";
import { type ScoreProcessor, scorePixels } from "@spo/scorers";
import { cat, keep, scope, type Tensor, tensor } from "@spo/torch";
import type { StepAwarePreferenceModel } from "../spm/spm.js";
import type { CandidateScorer, StepAwareJudge } from "./judge.js";

/** Prompts whose text features are computed at a time. */
const TEXTS = 256;

/** The step-aware preference model on decoded predictions. */
export class SpmJudge implements StepAwareJudge {
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

  prepare(prompts: readonly string[], meter?: WorkMeter): CandidateScorer {
    const features = keep(
      scope(() => {
        const ids = this.#tokenize(prompts);
        meter?.count("judgeText", ids.shape[0] as number);
        return cat(ids.split(TEXTS).map((part) => this.spm.textFeatures(part)));
      }),
    ); // [prompts, projection]
    return {
      score: ({ image, timestep }, rows, counted) =>
        scope(() => {
          const { dtype, device } = this.spm.visual_projection.weight;
          const pixels = scorePixels(image(), this.#processor).to({ dtype, device });
          counted?.count("judgeImage", rows.length);
          const text = features.indexSelect(0, tensor([...rows], { dtype: "int64", device }));
          return this.spm.scores(this.spm.imageFeatures(pixels, timestep), text).to({ dtype: "float32" });
        }),
      dispose: () => features.dispose(),
    };
  }
}
