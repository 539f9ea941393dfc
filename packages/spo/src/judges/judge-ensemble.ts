import { cat, type Module, scope, type Tensor } from "@spo/torch";
import type { CandidateScorer, Candidates, StepAwareJudge } from "./judge.js";

/** A judge among several, and what its scores are multiplied by. */
export interface WeightedJudge {
  judge: StepAwareJudge;
  weight: number;
}

/** Judges in one: the score is the sum of theirs, each by its weight. It tells their opinions too, so that a pair may need agreement. */
export class JudgeEnsemble implements StepAwareJudge {
  readonly #judges: readonly WeightedJudge[];

  constructor(judges: readonly WeightedJudge[]) {
    this.#judges = judges;
  }

  get modules(): readonly Module[] {
    return this.#judges.flatMap(({ judge }) => judge.modules ?? []);
  }

  beginRound(...of: Parameters<NonNullable<StepAwareJudge["beginRound"]>>): void {
    for (const { judge } of this.#judges) judge.beginRound?.(...of);
  }

  prepare(...given: Parameters<StepAwareJudge["prepare"]>): CandidateScorer {
    const scorers = this.#judges.map(({ judge, weight }) => ({ scorer: judge.prepare(...given), weight }));
    const scoreByJudge = (candidates: Candidates, ...rest: OfScore): Tensor =>
      scope(() =>
        cat(
          scorers.map(({ scorer, weight }) =>
            scorer
              .score(candidates, ...rest)
              .to({ device: "cpu", dtype: "float32" })
              .mul(weight)
              .unsqueeze(0),
          ),
        ),
      );
    return {
      sees: scorers.every(({ scorer }) => scorer.sees === "latents") ? "latents" : "predictions",
      score: (...of) => scope(() => scoreByJudge(...of).sum([0])),
      scoreByJudge,
      dispose: () => {
        for (const { scorer } of scorers) scorer.dispose?.();
      },
    };
  }
}

type OfScore = Parameters<CandidateScorer["score"]> extends [Candidates, ...infer Rest] ? Rest : never;
