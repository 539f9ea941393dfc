/** The outcome of one comparison, per prompt. */
export interface Comparison {
  /** Index of the best and the worst of k candidates. */
  win: number[];
  lose: number[];
  /** p_best − p_worst of their softmax, in [0, 1). */
  margin: number[];
  /** margin > threshold. */
  valid: boolean[];
}

/**
 * Best and worst of the candidates of each prompt, and whether they are far enough apart for a pair.
 *
 * scores [k][B]. p = softmax(best, worst), so that p_best − p_worst = tanh((s_best − s_worst)/2); valid if strictly above the threshold.
 * Of equal scores the first. The other candidates do not matter. Source: algorithm 4, compare.
 */
export function compare(scores: readonly ArrayLike<number>[], threshold: number): Comparison {
  const prompts = scores[0]?.length ?? 0;
  const found: Comparison = { win: [], lose: [], margin: [], valid: [] };
  for (let b = 0; b < prompts; b++) {
    let win = 0;
    let lose = 0;
    const of = (j: number): number => scores[j]?.[b] as number;
    for (let j = 1; j < scores.length; j++) {
      if (of(j) > of(win)) win = j;
      if (of(j) < of(lose)) lose = j;
    }
    const margin = Math.tanh((of(win) - of(lose)) / 2);
    found.win.push(win);
    found.lose.push(lose);
    found.margin.push(margin);
    found.valid.push(margin > threshold);
  }
  return found;
}
