// Pairs whose images are files and whose text is small: everything but the images is in memory.
import type { Layout, PairSource, PreferencePair } from "../preference.js";

/** A pair of a list and the place where it stands. */
export interface ListedPair {
  pair: PreferencePair;
  where: string;
}

const ROWS = 256;
/** About what a listed pair takes. */
const BYTES = 500;

/** A source over pairs that were listed already. */
export function listedSource(layout: Layout, listed: readonly ListedPair[]): PairSource {
  const blocks = Array.from({ length: Math.ceil(listed.length / ROWS) }, (_, block) => {
    const rows = Math.min(ROWS, listed.length - block * ROWS);
    return { rows, bytes: rows * BYTES };
  });
  const of = (block: number): readonly ListedPair[] =>
    listed.slice(block * ROWS, block * ROWS + (blocks[block]?.rows ?? 0));
  return {
    layout,
    blocks,
    where: (block, row) => listed[block * ROWS + row]?.where ?? `pair ${block * ROWS + row}`,
    facts: async (block) => of(block).map(({ pair: { image0: _, image1: __, ...facts } }) => facts),
    pairs: async (block) => of(block).map(({ pair }) => pair),
    close: async () => {},
  };
}
