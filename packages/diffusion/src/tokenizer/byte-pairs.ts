/**
 * Joins neighbouring symbols by the best ranked pair until no ranked pair is left; of equal pairs, the leftmost first.
 *
 * ranks: by `a b`, 0 first. O(n log n) in the number of symbols. Source: Sennrich et al. 2016, algorithm 1; the order of the `tokenizers`
 * library.
 */
export function mergeSymbols(symbols: readonly string[], ranks: ReadonlyMap<string, number>): string[] {
  const parts: (string | undefined)[] = [...symbols];
  const before = parts.map((_, i) => i - 1);
  const after = parts.map((_, i) => i + 1);
  const rankAt = (i: number): number | undefined => {
    const right = parts[after[i] as number];
    return parts[i] === undefined || right === undefined ? undefined : ranks.get(`${parts[i]} ${right}`);
  };
  const queue = new PairQueue();
  const offer = (i: number): void => {
    const rank = rankAt(i);
    if (rank !== undefined) queue.push(rank, i);
  };
  for (let i = 0; i + 1 < parts.length; i++) offer(i);
  for (let best = queue.pop(); best; best = queue.pop()) {
    const { rank, at } = best;
    if (rankAt(at) !== rank) continue; // one of the two has been joined with another meanwhile
    const gone = after[at] as number;
    parts[at] = `${parts[at]}${parts[gone]}`;
    parts[gone] = undefined;
    const next = after[gone] as number;
    after[at] = next;
    if (next < parts.length) before[next] = at;
    if ((before[at] as number) >= 0) offer(before[at] as number);
    offer(at);
  }
  return parts.filter((part) => part !== undefined);
}

/** Pairs by rank, then by place: a binary heap. */
class PairQueue {
  readonly #heap: number[] = [];

  /** rank and place below 2^26: one number holds both, in their order. */
  push(rank: number, at: number): void {
    const heap = this.#heap;
    const key = rank * PLACES + at;
    let i = heap.push(key) - 1;
    while (i > 0) {
      const above = (i - 1) >> 1;
      if ((heap[above] as number) <= key) break;
      heap[i] = heap[above] as number;
      i = above;
    }
    heap[i] = key;
  }

  pop(): { rank: number; at: number } | undefined {
    const heap = this.#heap;
    const [first] = heap;
    const last = heap.pop();
    if (first === undefined || last === undefined) return undefined;
    for (let i = 0; heap.length > 0; ) {
      let child = 2 * i + 1;
      if (child + 1 < heap.length && (heap[child + 1] as number) < (heap[child] as number)) child++;
      if (child >= heap.length || (heap[child] as number) >= last) {
        heap[i] = last;
        break;
      }
      heap[i] = heap[child] as number;
      i = child;
    }
    return { rank: Math.floor(first / PLACES), at: first % PLACES };
  }
}

const PLACES = 2 ** 26;
