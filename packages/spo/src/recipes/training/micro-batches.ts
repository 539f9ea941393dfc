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
