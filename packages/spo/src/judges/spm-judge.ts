import type { WorkMeter } from "@spo/records";
import { keep, type Module, scope } from "@spo/torch";
import { joinTexts, type PreferenceModel, type Texts, textRows } from "../spm/preference-model.js";
import type { CandidateScorer, StepAwareJudge } from "./judge.js";

/** Prompts that are read at a time. */
const TEXTS = 256;
/** What is read of all prompts stays in memory up to so many bytes. */
const TEXT_BYTES = 128 << 20;

/** A step-aware preference model as the judge. */
export class SpmJudge implements StepAwareJudge {
  readonly model: PreferenceModel;
  readonly modules: readonly Module[];

  constructor(model: PreferenceModel) {
    this.model = model;
    this.modules = [model.module];
  }

  prepare(prompts: readonly string[], meter?: WorkMeter): CandidateScorer {
    const texts = new EncodedTexts(this.model, prompts, meter);
    return {
      sees: this.model.sees,
      score: (candidates, rows, counted) =>
        scope(() => {
          const input = this.model.look(candidates);
          counted?.count("judgeImage", rows.length);
          const scores = this.model.score(input, candidates.timestep, texts.of(rows, counted));
          return scores.to({ dtype: "float32" });
        }),
      dispose: () => texts.dispose(),
    };
  }
}

/** What the model has read of prompts: of all at once, or, where that takes too much memory, of those that are asked for. */
class EncodedTexts {
  readonly #model: PreferenceModel;
  readonly #prompts: readonly string[];
  readonly #all: Texts | undefined;
  readonly #some = new Map<number, Texts>();

  constructor(model: PreferenceModel, prompts: readonly string[], meter?: WorkMeter) {
    this.#model = model;
    this.#prompts = prompts;
    const first = keep(scope(() => model.encode(prompts.slice(0, TEXTS))));
    const bytes = Object.values(first).reduce((sum, { nbytes }) => sum + nbytes, 0);
    if ((bytes / Math.min(TEXTS, prompts.length)) * prompts.length <= TEXT_BYTES) {
      meter?.count("judgeText", prompts.length);
      this.#all = prompts.length <= TEXTS ? first : keep(scope(() => joinTexts([first, ...this.#rest()])));
    }
    if (this.#all !== first) disposeTexts(first);
  }

  /** Those of the given prompts, a row each. */
  of(rows: readonly number[], meter?: WorkMeter): Texts {
    if (this.#all) return textRows(this.#all, rows);
    const missing = [...new Set(rows)].filter((row) => !this.#some.has(row));
    if (this.#some.size + missing.length > TEXTS) this.#forget();
    const wanted = [...new Set(rows)].filter((row) => !this.#some.has(row));
    if (wanted.length > 0) {
      meter?.count("judgeText", wanted.length);
      scope(() => {
        const read = this.#model.encode(wanted.map((row) => this.#prompts[row] as string));
        for (const [i, row] of wanted.entries()) this.#some.set(row, keep(textRows(read, [i])));
      });
    }
    return joinTexts(rows.map((row) => this.#some.get(row) as Texts));
  }

  dispose(): void {
    if (this.#all) disposeTexts(this.#all);
    this.#forget();
  }

  #rest(): Texts[] {
    const starts = Array.from(
      { length: Math.ceil(this.#prompts.length / TEXTS) - 1 },
      (_, i) => (i + 1) * TEXTS,
    );
    return starts.map((start) => this.#model.encode(this.#prompts.slice(start, start + TEXTS)));
  }

  #forget(): void {
    for (const texts of this.#some.values()) disposeTexts(texts);
    this.#some.clear();
  }
}

const disposeTexts = (texts: Texts): void => {
  for (const text of Object.values(texts)) text.dispose();
};
