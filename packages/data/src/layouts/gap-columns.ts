// Columns of score gaps: `gap_clip` is the score that `clip` gives the preferred image, less the other's.
import type { PairFacts } from "../preference.js";

const PREFIX = "gap_";

/** The column of a scorer's gaps. */
export const gapColumn = (scorer: string): string => PREFIX + scorer;

/** The scorer whose gaps a column has; undefined for other columns. */
export const scorerOfGap = (column: string): string | undefined =>
  column.startsWith(PREFIX) && column.length > PREFIX.length ? column.slice(PREFIX.length) : undefined;

/** The cells of a pair for the columns of these scorers' gaps. */
export const gapCells = (
  { gaps }: Pick<PairFacts, "gaps">,
  scorers: readonly string[],
): Record<string, number | undefined> =>
  Object.fromEntries(scorers.map((scorer) => [gapColumn(scorer), gaps?.[scorer]]));
