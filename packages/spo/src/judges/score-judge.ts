import { scope, Tensor, tensor, UserError } from "@spo/torch";
import type { Candidates, StepAwareJudge } from "./judge.js";

/** Candidates, and the prompt of each. */
export interface PromptedCandidates extends Candidates {
  prompts: readonly string[];
}

/**
 * Makes a judge of one function: higher is better, one score for each candidate, as a tensor [n] or as numbers. Its tensors die with
 * the call.
 */
export function scoreJudge(
  score: (candidates: PromptedCandidates) => Tensor | readonly number[],
): StepAwareJudge {
  return {
    prepare: (prompts) => ({
      score: ({ xt, x0, timestep, image }, rows) =>
        scope(() => {
          const ofRows = rows.map((row) => prompts[row] as string);
          const scores = score({ xt, x0, timestep, image, prompts: ofRows });
          if (scores instanceof Tensor) return scores.to({ dtype: "float32" });
          if (Array.isArray(scores) && scores.every((value) => typeof value === "number"))
            return tensor([...scores], { dtype: "float32" });
          throw new UserError("A judge's function gives a tensor or an array of numbers.", { code: "DATA" });
        }),
    }),
  };
}
