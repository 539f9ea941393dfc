import type { ClipTokenizer } from "@spo/diffusion";
import { type Device, noGrad, scope, tensor, UserError } from "@spo/torch";
import { rgbFromPixels } from "../data/pixels.js";
import { loadReward, type Reward, type RewardSpec } from "../rewards/index.js";
import type { StepAwareJudge } from "./judge.js";

/**
 * A scorer of finished images as a judge: it sees the decoded predictions of noisy steps as if they were finished, and knows no time.
 *
 * Throws a UserError (`DATA`), at the first score, for a reward that answers later: a step waits for no other program.
 */
export function rewardJudge(reward: Reward): StepAwareJudge<readonly string[]> {
  return {
    prepare: (prompts) => prompts,
    score: ({ image }, prompts, rows, meter) =>
      noGrad(() =>
        scope(() => {
          const pixels = image();
          const images = rows.map((_, i) => rgbFromPixels(pixels.narrow(0, i, 1)));
          meter?.count("judgeImage", rows.length);
          const scores: unknown = reward.score(
            images,
            rows.map((row) => prompts[row] as string),
          );
          if (Array.isArray(scores)) return tensor(scores as number[], { dtype: "float32" });
          throw new UserError(
            `${reward.name} gave ${scores instanceof Promise ? "a promise" : `a ${typeof scores}`}, not an array of scores.`,
            {
              code: "DATA",
              hint: "A judge of steps answers at once: give a reward whose score is not asynchronous.",
            },
          );
        }),
      ),
  };
}

/** The judge of a reward's spec, `NAME:PATH[,OPTION=PATH…]`. tokenizer: for a scorer that comes without one. */
export async function openRewardJudge(
  spec: RewardSpec,
  tokenizer: ClipTokenizer,
  { device }: { device?: Device } = {},
): Promise<StepAwareJudge> {
  return rewardJudge(await loadReward(spec, { tokenizer, device })) as StepAwareJudge;
}
