/**
 * The pairs of a ranked list: each two of its n images, n(n−1)/2 of them; the better one has label 1, equal ranks are a tie.
 *
 * ranks: one an image, smaller is better.
 */
export function pairsOfRanking(
  ranks: readonly number[],
): { first: number; second: number; label0: number; label1: number }[] {
  return ranks.flatMap((rank, first) =>
    ranks.slice(first + 1).map((other, i) => {
      const label0 = rank < other ? 1 : rank > other ? 0 : 0.5;
      return { first, second: first + 1 + i, label0, label1: 1 - label0 };
    }),
  );
}
