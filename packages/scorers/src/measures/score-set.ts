import type { ImageOfSet } from "@spo/data";
import { bytesOfImage, decodeRgb, FaultList } from "@spo/data";
import { UserError } from "@spo/torch/files";
import { checkedScores } from "../rewards/checked-scores.js";
import type { Reward, RgbImage } from "../rewards/reward.js";

/** One reward's view of a set, image by image. */
export interface SetScores {
  scores: number[];
  /** Where they were asked for and the reward has them: [n][d], of length 1. */
  features?: number[][];
}

/** How a set is scored, and how the caller hears of it. */
export interface ScoreSetOptions {
  /** Images at once. */
  batch?: number;
  features?: boolean;
  /** After each batch: how many are done. */
  onProgress?: (done: number) => void;
  /** Stops between batches. */
  signal?: AbortSignal;
}

/** Scores a set by one reward. Throws UserErrors for an image that does not decode and a reward that gives no proper numbers. */
export async function scoreSet(
  images: readonly ImageOfSet[],
  reward: Reward,
  { batch = 8, features: wanted = false, onProgress, signal }: ScoreSetOptions = {},
): Promise<SetScores> {
  const scores: number[] = [];
  const features: number[][] | undefined = wanted && reward.features ? [] : undefined;
  for (let start = 0; start < images.length; start += batch) {
    const part = images.slice(start, start + batch);
    const decoded = await Promise.all(part.map(({ path }) => decodeFile(path)));
    scores.push(
      ...(await checkedScores(
        reward,
        decoded,
        part.map(({ prompt }) => prompt),
      )),
    );
    if (features) features.push(...(await (reward as Required<Reward>).features(decoded)));
    onProgress?.(scores.length);
    signal?.throwIfAborted();
  }
  return { scores, features };
}

/** Decodes every image once, before the hours of scoring. Throws a UserError (`DATA`) that lists those that do not. */
export async function checkImagesDecode(images: readonly ImageOfSet[], name: string): Promise<void> {
  const faults = new FaultList();
  for (let start = 0; start < images.length; start += 8) {
    await Promise.all(
      images.slice(start, start + 8).map(async ({ path }) => {
        try {
          await decodeFile(path);
        } catch (error) {
          if (!(error instanceof UserError)) throw error;
          faults.add(path, error.message.replace(`${path} `, ""));
        }
      }),
    );
  }
  faults.throwIfAny(name);
}

async function decodeFile(path: string): Promise<RgbImage> {
  return decodeRgb(bytesOfImage({ path }), path);
}
