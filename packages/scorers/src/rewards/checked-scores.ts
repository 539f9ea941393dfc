import { UserError } from "@spo/torch/files";
import type { Reward, RgbImage } from "./reward.js";

/**
 * A reward's scores, checked: one number an image. A reward may be a user's own.
 *
 * Throws a UserError: `DATA` for another count or what is no number, `NUMERIC` for NaN and infinities.
 */
export async function checkedScores(
  reward: Reward,
  images: readonly RgbImage[],
  prompts: readonly string[],
): Promise<number[]> {
  const scores: unknown = await reward.score(images, prompts);
  if (
    !Array.isArray(scores) ||
    scores.length !== images.length ||
    scores.some((score) => typeof score !== "number")
  ) {
    const given = Array.isArray(scores) ? `${scores.length} values` : typeof scores;
    throw new UserError(`${reward.name} was asked for ${images.length} scores and gave ${given}.`, {
      code: "DATA",
      hint: "score(images, prompts) gives an array with one number an image.",
    });
  }
  requireFiniteScores(reward.name, scores as number[], prompts);
  return scores as number[];
}

/** Throws a UserError (`NUMERIC`) for the first score that is NaN or infinite. name: of what gave them; prompts: of the images. */
export function requireFiniteScores(
  name: string,
  scores: readonly number[],
  prompts: readonly string[],
): void {
  const odd = scores.findIndex((score) => !Number.isFinite(score));
  if (odd < 0) return;
  throw new UserError(`${name} gave ${scores[odd]} for an image of ${JSON.stringify(prompts[odd])}.`, {
    code: "NUMERIC",
    hint: "A score that is no finite number cannot be compared. In half precision, try float32.",
  });
}
