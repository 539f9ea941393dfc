/** How much less than the least likely piece an unknown character counts. Source: sentencepiece, unigram_model.cc. */
const UNKNOWN_PENALTY = 10;

/** A unigram language model over pieces of words. Source: Kudo 2018, section 3.2. */
export class Unigram {
  readonly #pieces: ReadonlyMap<string, { id: number; score: number }>;
  readonly #unknown: { id: number; score: number };
  /** Code units of the longest piece. */
  readonly #longest: number;

  /** pieces: with their log-probabilities, in the order of their ids. */
  constructor(pieces: readonly (readonly [piece: string, score: number])[], unknownId: number) {
    this.#pieces = new Map(pieces.map(([piece, score], id) => [piece, { id, score }]));
    const least = pieces.reduce((low, [, score]) => Math.min(low, score), Number.POSITIVE_INFINITY);
    this.#unknown = { id: unknownId, score: least - UNKNOWN_PENALTY };
    this.#longest = pieces.reduce((most, [piece]) => Math.max(most, piece.length), 1);
  }

  /** Ids of the likeliest segmentation of a word; neighbouring unknown characters are one unknown piece. */
  encode(word: string): number[] {
    // best[i]: of all segmentations of the first i code units. Of equal ones the first that is found stays.
    const best: ({ from: number; id: number; score: number } | undefined)[] = [{ from: 0, id: -1, score: 0 }];
    for (let from = 0; from < word.length; ) {
      const before = best[from]?.score ?? 0; // each start is reached: a character is a piece, or unknown
      const width = (word.codePointAt(from) as number) > 0xffff ? 2 : 1;
      const offer = (to: number, { id, score }: { id: number; score: number }): void => {
        const known = best[to];
        if (!known || before + score > known.score) best[to] = { from, id, score: before + score };
      };
      for (let to = from + width; to <= Math.min(word.length, from + this.#longest); to++) {
        const piece = this.#pieces.get(word.slice(from, to));
        if (piece) offer(to, piece);
      }
      if (!this.#pieces.has(word.slice(from, from + width))) offer(from + width, this.#unknown);
      from += width;
    }
    const ids: number[] = [];
    for (let at = word.length; at > 0; ) {
      const { from, id } = best[at] as { from: number; id: number };
      if (id !== this.#unknown.id || ids[0] !== id) ids.unshift(id);
      at = from;
    }
    return ids;
  }
}
