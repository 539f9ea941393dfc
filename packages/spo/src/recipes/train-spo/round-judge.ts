import type { StepAwareJudge } from "../../judges/judge.js";

/** The judge of all prompts as one of those of a round. chosen: place in all prompts of each of the round's. */
export function judgeOfRound(judge: StepAwareJudge, chosen: readonly number[]): StepAwareJudge {
  return {
    prepare: (prompts, meter) => judge.prepare(prompts, meter),
    score: (candidates, prepared, rows, meter) =>
      judge.score(
        candidates,
        prepared,
        rows.map((row) => chosen[row] as number),
        meter,
      ),
  };
}
