import { rgbFromPixels } from "@spo/data/pixels";
import type { ClipTokenizer } from "@spo/diffusion";
import type { Reward, RewardSpec } from "@spo/scorers";
import { type Device, noGrad, notFiniteAt, scope, tensor, UserError } from "@spo/torch";
import type { StepAwareJudge } from "./judge.js";
import { loadReward } from "./load-reward.js";

/**
 * A scorer of finished images as a judge: it sees the decoded predictions of noisy steps as if they were finished, without the timestep.
 *
 * An image that is not finite gets the score NaN. Throws a UserError (`DATA`), at the first score, for a reward that returns a promise: a
 * denoising step cannot wait.
 */
export function rewardJudge(reward: Reward): StepAwareJudge {
  return {
    prepare: (prompts) => ({
      score: ({ image }, rows, meter) =>
        noGrad(() =>
          scope(() => {
            const pixels = image();
            const odd = notFiniteAt(pixels).flatten(1).any(1).toNumbers();
            const shown = rows.flatMap((row, i) => (odd[i] ? [] : [{ row, i }]));
            if (shown.length === 0) return tensor(rows.map(() => Number.NaN));
            meter?.count("judgeImage", shown.length);
            const scores: unknown = reward.score(
              shown.map(({ i }) => rgbFromPixels(pixels.narrow(0, i, 1))),
              shown.map(({ row }) => prompts[row] as string),
            );
            // An image that is not finite gets NaN, which the rollout counts; the others keep their scores.
            if (Array.isArray(scores)) {
              const all = [...(scores as number[])];
              for (const [i, bad] of odd.entries()) if (bad) all.splice(i, 0, Number.NaN);
              return tensor(all, { dtype: "float32" });
            }
            throw new UserError(
              `${reward.name} gave ${scores instanceof Promise ? "a promise" : `a ${typeof scores}`}, not an array of scores.`,
              {
                code: "DATA",
                hint: "A judge of steps answers at once: give a reward whose score is not asynchronous.",
              },
            );
          }),
        ),
    }),
  };
}

/** The judge of a reward's spec, `NAME:PATH[,OPTION=PATH…]`. tokenizer: for a scorer that comes without one. */
export async function openRewardJudge(
  spec: RewardSpec,
  tokenizer: ClipTokenizer | undefined,
  { device }: { device?: Device } = {},
): Promise<StepAwareJudge> {
  return rewardJudge(await loadReward(spec, { tokenizer, device }));
}
