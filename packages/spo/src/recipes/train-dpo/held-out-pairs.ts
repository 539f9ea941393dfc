// Diffusion-DPO's loss on pairs that are held out, with the same noise each time.
import { openPairSet, type PairBatch, PairLoader } from "@spo/data";
import { noGrad, scope } from "@spo/torch";
import type { PairLoss } from "./pair-loss.js";

/** Which pairs are held out, and how they are read. */
export interface HeldOutPairsInput {
  paths: readonly string[];
  split: string;
  /** At most so many. */
  count: number;
  /** Pairs read, and measured, at a time. */
  batch: number;
  opening: Parameters<typeof openPairSet>[1];
  /** Side of the images and the kernel that they are resized by. */
  reading: { side: number; kernel: "bilinear" };
}

/** Reads them all. Throws as `openPairSet`. */
export async function readHeldOut({
  paths,
  split,
  count,
  batch,
  opening,
  reading,
}: HeldOutPairsInput): Promise<PairBatch[]> {
  const set = await openPairSet(paths, { ...opening, split });
  const loader = new PairLoader(set, { ...reading, seed: null, aheadBytes: 1 });
  try {
    const batches: PairBatch[] = [];
    const size = Math.min(count, set.size);
    for (let start = 0; start < size; start += batch)
      batches.push(await loader.read(start, Math.min(batch, size - start)));
    return batches;
  } finally {
    await loader.close();
    await set.close();
  }
}

/** Loss and accuracy, means over the pairs. lossOf: of one batch, by its number. onBatch: told of each, and of the beginning. */
export function measureHeldOut(
  batches: readonly PairBatch[],
  lossOf: (batch: PairBatch, number: number) => PairLoss,
  onBatch: (done: number, total: number) => void,
): { loss: number; accuracy: number } {
  onBatch(0, batches.length);
  let [loss, accuracy, count] = [0, 0, 0];
  for (const [b, batch] of batches.entries()) {
    noGrad(() =>
      scope(() => {
        const result = lossOf(batch, b);
        const pairs = batch.prompts.length;
        loss += pairs * result.loss.item();
        accuracy += pairs * result.accuracy;
        count += pairs;
      }),
    );
    onBatch(b + 1, batches.length);
  }
  return { loss: loss / count, accuracy: accuracy / count };
}
