/** The outcome of one comparison, per prompt. */
export interface Comparison {
  /** Index of the best and the worst of k candidates. */
  win: number[];
  lose: number[];
  /** p_best − p_worst of their softmax, in [0, 1); NaN where a score is not finite. */
  margin: number[];
  /** margin > threshold. */
  valid: boolean[];
  /** Whether all scores are finite. Otherwise best and worst are unknown, and there is no pair. */
  finite: boolean[];
}

/**
 * The candidates of the softmax behind the margin: best and worst, as in the published code, or all.
 */
export type MarginSoftmax = "pair" | "all";

/**
 * The best and the worst candidate of each prompt, and whether their margin is large enough for a pair.
 *
 * scores [k][B]. p = softmax(best, worst), so that p_best − p_worst = tanh((s_best − s_worst)/2); valid if strictly above the threshold.
 * Of equal scores the first. The other candidates matter only for the softmax over all. Source: algorithm 4, compare.
 */
export function compare(
  scores: readonly ArrayLike<number>[],
  threshold: number,
  { among = "pair" }: { among?: MarginSoftmax } = {},
): Comparison {
  const prompts = scores[0]?.length ?? 0;
  const found: Comparison = { win: [], lose: [], margin: [], valid: [], finite: [] };
  for (let b = 0; b < prompts; b++) {
    let win = 0;
    let lose = 0;
    const of = (j: number): number => scores[j]?.[b] as number;
    for (let j = 1; j < scores.length; j++) {
      if (of(j) > of(win)) win = j;
      if (of(j) < of(lose)) lose = j;
    }
    const finite = scores.every((row) => Number.isFinite(row[b]));
    const apart = of(win) - of(lose);
    const margin = !finite
      ? Number.NaN
      : among === "pair"
        ? Math.tanh(apart / 2)
        : (1 - Math.exp(-apart)) /
          scores.reduce((sum, row) => sum + Math.exp((row[b] as number) - of(win)), 0);
    found.finite.push(finite);
    found.win.push(win);
    found.lose.push(lose);
    found.margin.push(margin);
    found.valid.push(margin > threshold);
  }
  return found;
}
