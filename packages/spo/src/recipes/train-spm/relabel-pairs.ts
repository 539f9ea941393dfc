import type { PairBatch } from "@spo/data";
import type { WorkMeter } from "@spo/records";
import { checkedScores, type Reward, type RgbImage } from "@spo/scorers";
import { relabel } from "../../objectives/spm-loss.js";

/**
 * The same pairs with labels from a scorer of their clean images: a win where the two probabilities are more than `threshold` apart, else a
 * tie. Source: algorithm 3c, SDXL.
 */
export async function relabelPairs(
  batch: PairBatch,
  { reward, threshold }: { reward: Reward; threshold: number },
  meter?: WorkMeter,
): Promise<PairBatch> {
  const { side, prompts } = batch;
  const size = 3 * side * side;
  const score = (bytes: Uint8Array): Promise<number[]> => {
    const images = prompts.map(
      (_, i): RgbImage => ({ data: bytes.subarray(size * i, size * (i + 1)), width: side, height: side }),
    );
    return checkedScores(reward, images, prompts);
  };
  const labels = relabel(await score(batch.image0), await score(batch.image1), threshold);
  meter?.count("judgeImage", 2 * prompts.length);
  meter?.count("judgeText", 2 * new Set(prompts).size);
  return { ...batch, ...labels };
}
