// The order of pairs. It has no state: any position can be asked for.
import { seedAt } from "@spo/torch/seed";
import type { PairBlock } from "./preference.js";

/**
 * A permutation of 0 … count−1 that depends on the seed alone. Source: Fisher and Yates; the numbers are sfc32's.
 */
export function permutation(count: number, seed: number): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  const below = sfc32(seed);
  for (let i = count - 1; i > 0; i--) {
    const j = below(i + 1);
    [order[i], order[j]] = [order[j] as number, order[i] as number];
  }
  return order;
}

/** Whole numbers from 0 below a bound, without bias. */
function sfc32(seed: number): (bound: number) => number {
  let [a, b, c, d] = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0, 0x9e3779b9, 1];
  const next = (): number => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + t) | 0;
    return t >>> 0;
  };
  for (let i = 0; i < 15; i++) next();
  return (bound) => {
    const most = 2 ** 32 - (2 ** 32 % bound);
    for (;;) {
      const value = next();
      if (value < most) return value % bound;
    }
  };
}

/** Where a pair stands: its block, and its place among the pairs of that block. */
export interface Place {
  block: number;
  row: number;
}

/** Blocks that are in memory together; their pairs are mixed. */
export interface Window {
  /** Position of its first pair in the epoch. */
  start: number;
  /** In the order of this epoch. */
  places: readonly Place[];
}

/** The windows of one epoch as one list: what is wanted is made when it is asked for. */
export interface EpochOrder {
  windows: number;
  /** The window of a position in [0, pairs). */
  windowOf(position: number): number;
  window(index: number): Window;
}

/**
 * Each pair once an epoch: blocks in random order, those of about `windowBytes` together, their pairs in random order. So a set of any
 * size is mixed with so much memory; one that fits is mixed perfectly. `seed: null`: as the pairs stand in the data.
 */
export function epochOrder(
  blocks: readonly PairBlock[],
  { seed, epoch, windowBytes }: { seed: number | null; epoch: number; windowBytes: number },
): EpochOrder {
  const sequence =
    seed === null ? [...blocks.keys()] : [...permutation(blocks.length, seedAt(seed, "blocks", epoch))];
  const groups: number[][] = [];
  let held = Number.POSITIVE_INFINITY;
  for (const block of sequence) {
    const { bytes, rows } = blocks[block] as PairBlock;
    if (rows === 0) continue;
    if (held + bytes > windowBytes) {
      groups.push([]);
      held = 0;
    }
    groups.at(-1)?.push(block);
    held += bytes;
  }
  const starts: number[] = [];
  let pairs = 0;
  for (const group of groups) {
    starts.push(pairs);
    for (const block of group) pairs += (blocks[block] as PairBlock).rows;
  }
  return {
    windows: groups.length,
    windowOf(position) {
      if (!(position >= 0 && position < pairs))
        throw new RangeError(`position ${position} is not in [0, ${pairs})`);
      let [low, high] = [0, starts.length - 1];
      while (low < high) {
        const middle = Math.ceil((low + high) / 2);
        if ((starts[middle] as number) <= position) low = middle;
        else high = middle - 1;
      }
      return low;
    },
    window(index) {
      const places = (groups[index] as number[]).flatMap((block) =>
        Array.from({ length: (blocks[block] as PairBlock).rows }, (_, row): Place => ({ block, row })),
      );
      const start = starts[index] as number;
      if (seed === null) return { start, places };
      const mixed = permutation(places.length, seedAt(seed, "window", epoch, index));
      return { start, places: Array.from(mixed, (i) => places[i] as Place) };
    },
  };
}
