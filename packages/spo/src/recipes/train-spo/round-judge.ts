import type { StepAwareJudge } from "../../judges/judge.js";

/** A judge of all prompts as a judge of a round's prompts. chosen: the index in all prompts of each prompt of the round. */
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
