import type { Tensor } from "@spo/torch";
import { noGrad, scope } from "@spo/torch";
import { type RolloutInput, rollout } from "../rollout/rollout.js";
import type { CandidateStrip, StepComparison } from "../rollout/transitions.js";
import { concatPairs, type StepPairs, stepPairs } from "./step-pairs.js";

/** The results of resampling B prompts. */
export interface Resampled {
  /** By comparison, then by step in the segment, then by prompt. */
  pairs: StepPairs;
  comparisons: StepComparison[];
  strips: CandidateStrip[];
  /** After the last step, [k·B, c, h, w], row j·B + b. */
  latents: Tensor;
}

/**
 * Step-wise resampling: win-lose pairs of single denoising steps that share one history. Where a score is not finite there is no pair.
 *
 * Throws as `rollout`. Source: Liang et al. 2024, section 3.3; algorithm 4.
 */
export const resample = (input: RolloutInput): Resampled =>
  noGrad(() =>
    scope(() => {
      const { read, ...found } = rollout(input, stepPairs);
      return { pairs: concatPairs(read), ...found };
    }),
  );
