import type { ImageOfSet } from "@spo/data";
import { bytesOfImage, decodeRgb, FaultList } from "@spo/data";
import { WORLD_OF_ONE, type World } from "@spo/torch/distributed";
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
  /** The processes that score together, each its batches. Default: this one alone. */
  world?: World;
}

/**
 * Scores a set by one reward: the same for any number of processes. Throws UserErrors for an image that does not decode and a reward that
 * gives no proper numbers.
 */
export async function scoreSet(
  images: readonly ImageOfSet[],
  reward: Reward,
  { batch = 8, features: wanted = false, onProgress, signal, world = WORLD_OF_ONE }: ScoreSetOptions = {},
): Promise<SetScores> {
  const withFeatures = wanted && reward.features !== undefined;
  const mine: (SetScores & { start: number })[] = [];
  for (let start = 0; start < images.length; start += batch) {
    if ((start / batch) % world.size !== world.rank) continue;
    const part = images.slice(start, start + batch);
    const decoded = await Promise.all(part.map(({ path }) => decodeFile(path)));
    const scores = await checkedScores(
      reward,
      decoded,
      part.map(({ prompt }) => prompt),
    );
    const features = withFeatures ? await (reward as Required<Reward>).features(decoded) : undefined;
    mine.push({ start, scores, features });
    onProgress?.(start + part.length);
    signal?.throwIfAborted();
  }
  const all = (await world.gather(mine)).flat().sort((a, b) => a.start - b.start);
  return {
    scores: all.flatMap(({ scores }) => scores),
    features: withFeatures ? all.flatMap(({ features }) => features ?? []) : undefined,
  };
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
