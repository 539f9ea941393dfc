import { seedAt } from "@spo/torch/seed";
import type { Artwork } from "./artwork.js";

/**
 * Splits renderings into two halves, by concept and set: half 0 for what labels and scores, half 1 for the judge that reports. Sets
 * alternate within a concept, so that each half has about half of every concept's renderings.
 */
function halfOf({ concepts, sets }: Pick<Artwork, "concepts" | "sets">): (0 | 1)[] {
  const order = [...new Set(sets)].sort();
  return concepts.map(
    (concept, i) => ((order.indexOf(sets[i] as string) + seedAt(0, "half", concept)) % 2) as 0 | 1,
  );
}

/** Row numbers of one half. */
export const rowsOfHalf = (artwork: Pick<Artwork, "concepts" | "sets">, half: 0 | 1): number[] =>
  halfOf(artwork).flatMap((h, row) => (h === half ? [row] : []));
