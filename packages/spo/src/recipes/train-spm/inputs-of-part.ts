import { cat, scope, type Tensor } from "@spo/torch";
import { fromBank, type NoisedPairs } from "./noised-pairs.js";
import type { SpmSource } from "./spm-source.js";

/** Some of a step's pairs, and how one process would compute the step. */
export interface StepPart {
  step: number;
  /** Position of the first pair in the batch, and pairs. */
  start: number;
  size: number;
  batch: number;
  /** Pairs of one pass, where one process computes them: what is drawn for them is drawn together. */
  microBatch: number;
}

/** The network's input of either side of a part, whatever else of the batch this process computes: every draw is the one process's. */
export const inputsOfPart = (
  source: Pick<SpmSource, "inputs">,
  pairs: NoisedPairs,
  { step, start, size, batch, microBatch }: StepPart,
): [Tensor, Tensor] =>
  scope(() => {
    const pieces: [Tensor, Tensor][] = [];
    for (let first = start - (start % microBatch); first < start + size; first += microBatch) {
      const place = first === 0 ? [step] : [step, first];
      const together = Math.min(microBatch, batch - first);
      if (first === start && together === size) return source.inputs(pairs, place);
      // Drawn for all that are drawn together; others of the part stand in for those that this process has not.
      const rows = Array.from({ length: together }, (_, i) => first + i - start);
      const own = rows.flatMap((row, i) => (row >= 0 && row < size ? [i] : []));
      const filled = rows.map((row) => Math.min(size - 1, Math.max(0, row)));
      const found = source.inputs(fromBank([pairs], filled), place);
      pieces.push(found.map((side) => side.narrow(0, own[0] as number, own.length)) as [Tensor, Tensor]);
    }
    const side = (n: 0 | 1): Tensor => cat(pieces.map((piece) => piece[n]));
    return [side(0), side(1)];
  });
