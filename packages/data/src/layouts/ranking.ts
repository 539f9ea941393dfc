/** With how many of the images that follow it in rank an image of a long list makes a pair. */
const NEIGHBOURS = 16;

/** Two places of a ranked list, and the share of the first. */
export interface RankedPair {
  first: number;
  second: number;
  label0: number;
}

/**
 * The pairs of a ranked list; the better one has label 1, equal ranks are a tie. Up to 17 images: each two of them, n(n−1)/2. In a longer
 * list each image with the 16 that follow it in rank, so that the pairs are no more than 16n.
 *
 * ranks: one an image, smaller is better.
 */
export function* pairsOfRanking(ranks: readonly number[]): Generator<RankedPair> {
  const isLong = ranks.length > NEIGHBOURS + 1;
  const order = [...ranks.keys()];
  if (isLong) order.sort((a, b) => (ranks[a] as number) - (ranks[b] as number));
  for (const [at, one] of order.entries()) {
    for (
      let next = at + 1;
      next < order.length && next <= at + (isLong ? NEIGHBOURS : order.length);
      next++
    ) {
      const other = order[next] as number;
      const [first, second] = one < other ? [one, other] : [other, one];
      const [rank, against] = [ranks[first] as number, ranks[second] as number];
      yield { first, second, label0: rank < against ? 1 : rank > against ? 0 : 0.5 };
    }
  }
}
