import type { Comparison } from "./compare.js";

/**
 * The share of the judges that do not find the loser of a pair better than its winner, by prompt.
 *
 * byJudge: [m][k][B], higher is better.
 */
export const agreement = (
  byJudge: readonly (readonly (readonly number[])[])[],
  { win, lose }: Pick<Comparison, "win" | "lose">,
): number[] =>
  win.map((best, b) => {
    const of = byJudge.filter(
      (scores) => (scores[best]?.[b] as number) >= (scores[lose[b] as number]?.[b] as number),
    );
    return of.length / byJudge.length;
  });

/** A comparison whose pairs need the agreement of judges. doubtful: those that would be valid without. */
export function withDoubt(
  comparison: Comparison,
  byJudge: readonly (readonly (readonly number[])[])[] | undefined,
  least: number,
): Comparison & { doubtful?: boolean[] } {
  if (byJudge === undefined) return comparison;
  const doubtful = agreement(byJudge, comparison).map(
    (share, b) => (comparison.valid[b] as boolean) && share < least,
  );
  return { ...comparison, valid: comparison.valid.map((valid, b) => valid && !doubtful[b]), doubtful };
}
