import type { ReadingShare } from "@spo/data";

/** A part of a batch that is computed in one forward and backward pass. */
export interface MicroBatch {
  /** Position of its first sample in the batch. */
  start: number;
  /** Samples. */
  size: number;
  /** Its share of the batch: the mean losses of the parts, each times its share, add up to the batch's mean loss. */
  share: number;
}

/** The parts of a batch, in order; the last one may be smaller. batch, microBatch: samples, at least 1. */
export function microBatches(batch: number, microBatch: number): MicroBatch[] {
  return Array.from({ length: Math.ceil(batch / microBatch) }, (_, i) => {
    const start = i * microBatch;
    const size = Math.min(microBatch, batch - start);
    return { start, size, share: size / batch };
  });
}

/** One of the processes that share each batch. */
export interface BatchSharer {
  /** Processes. */
  size: number;
  rank: number;
  /** Whether the bits of a result must not depend on the number of processes. */
  exact: boolean;
}

/** reduce: how the training adds up gradients, as `GradientSum` does. */
export const sharerOf = (
  { size, rank }: Omit<BatchSharer, "exact">,
  reduce: "sum" | "exact",
): BatchSharer => ({
  ...{ size, rank },
  exact: reduce === "exact",
});

/**
 * What a process computes of a batch, a micro-batch at a time: they go round the ranks in order. Undefined where the last round has none
 * left for it.
 */
export function partsOfProcess(
  batch: number,
  microBatch: number,
  { size, rank, exact }: BatchSharer,
): (MicroBatch | undefined)[] {
  // Where bits may depend on the number of processes, none stands idle.
  const most = exact ? microBatch : Math.min(microBatch, Math.ceil(batch / size));
  const all = microBatches(batch, most);
  return Array.from({ length: Math.ceil(all.length / size) }, (_, i) => all[i * size + rank]);
}

/** The positions that a process reads of batches that follow each other. */
export function positionsOfProcess(batch: number, microBatch: number, sharer: BatchSharer): ReadingShare {
  const mine = new Set(
    partsOfProcess(batch, microBatch, sharer).flatMap((part) =>
      part ? Array.from({ length: part.size }, (_, i) => part.start + i) : [],
    ),
  );
  return { processes: sharer.size, isMine: (position) => mine.has(position % batch) };
}
