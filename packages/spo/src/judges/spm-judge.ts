import type { WorkMeter } from "@spo/records";
import { keep, scope } from "@spo/torch";
import { joinTexts, type PreferenceModel, textRows } from "../spm/preference-model.js";
import type { CandidateScorer, StepAwareJudge } from "./judge.js";

/** Prompts that are read at a time. */
const TEXTS = 256;

/** A step-aware preference model as the judge. */
export class SpmJudge implements StepAwareJudge {
  readonly model: PreferenceModel;

  constructor(model: PreferenceModel) {
    this.model = model;
  }

  prepare(prompts: readonly string[], meter?: WorkMeter): CandidateScorer {
    meter?.count("judgeText", prompts.length);
    const texts = keep(
      scope(() =>
        joinTexts(
          Array.from({ length: Math.ceil(prompts.length / TEXTS) }, (_, i) =>
            this.model.encode(prompts.slice(i * TEXTS, (i + 1) * TEXTS)),
          ),
        ),
      ),
    );
    return {
      score: (candidates, rows, counted) =>
        scope(() => {
          const input = this.model.look(candidates);
          counted?.count("judgeImage", rows.length);
          return this.model.score(input, candidates.timestep, textRows(texts, rows)).to({ dtype: "float32" });
        }),
      dispose: () => {
        for (const text of Object.values(texts)) text.dispose();
      },
    };
  }
}
