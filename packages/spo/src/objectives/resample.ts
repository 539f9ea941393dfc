import type { Tensor } from "@spo/torch";
import { noGrad, scope } from "@spo/torch";
import { type RolloutInput, rollout } from "../rollout/rollout.js";
import type { CandidateStrip, StepComparison } from "../rollout/transitions.js";
import { concatPairs, type StepPairs, stepPairs } from "./step-pairs.js";

/** A rollout of B prompts, and where its judge is not asked alone. */
export interface ResampleInput extends RolloutInput {
  /** Margin below which somebody else decides a pair. Default: the judge decides all. */
  askBelow?: number;
}

/** The results of resampling B prompts. */
export interface Resampled {
  /** By comparison, then by step in the segment, then by prompt. */
  pairs: StepPairs;
  comparisons: StepComparison[];
  strips: CandidateStrip[];
  /** With `askBelow`: the pairs of smaller margins, above the threshold or not, which are not among the others. */
  doubted?: StepPairs;
  /** After the last step, [k·B, c, h, w], row j·B + b. */
  latents: Tensor;
}

/**
 * Step-wise resampling: win-lose pairs of single denoising steps that share one history. Where a score is not finite there is no pair.
 *
 * Throws as `rollout`. Source: Liang et al. 2024, section 3.3; algorithm 4.
 */
export const resample = ({ askBelow, ...input }: ResampleInput): Resampled =>
  noGrad(() =>
    scope(() => {
      if (askBelow === undefined) {
        const { read, ...found } = rollout(input, stepPairs);
        return { pairs: concatPairs(read), ...found };
      }
      const { read, ...found } = rollout(input, (segment) => {
        const { margin, valid, finite } = segment.comparison;
        const those = (isOne: (b: number) => boolean): StepPairs =>
          stepPairs({
            ...segment,
            comparison: { ...segment.comparison, valid: margin.map((_, b) => isOne(b)) },
          });
        const isDoubted = (b: number): boolean => (finite[b] as boolean) && (margin[b] as number) < askBelow;
        return {
          pairs: those((b) => (valid[b] as boolean) && !isDoubted(b)),
          doubted: those(isDoubted),
        };
      });
      return {
        pairs: concatPairs(read.map(({ pairs }) => pairs)),
        doubted: concatPairs(read.map(({ doubted }) => doubted)),
        ...found,
      };
    }),
  );
