// How strong each of several models is, from votes between two of them at a time.
import { bootstrapEach, type Estimate } from "./statistics.js";

/** A vote between two models. */
export interface Match {
  /** Numbers of the models. */
  a: number;
  b: number;
  /** Of a: 1 it won, 0 it lost, ½ neither. */
  share: number;
}

/** Rounds of the fit, and the change of a strength at which it ends. */
const [MOST_ROUNDS, CLOSE] = [2000, 1e-9];
/** Votes that each side of each compared pair of models is given: who won all would else be infinitely strong. */
const PRIOR = 0.5;

/**
 * Strengths of the Bradley–Terry model with ties. A model of strength s beats one of strength r without a tie by e^(s−r) to 1.
 *
 * matches: between models 0 to count − 1. → natural logarithms that sum to 0, one a model; a model that was never compared has 0. Half a
 * win is added to each side of each compared pair. Source: Davidson 1970, equations 2.4 and 3.2, by their fixed point.
 */
export function bradleyTerry(matches: readonly Match[], count: number): number[] {
  const { met, won, ties } = counted(matches, count);
  const strength = Array.from({ length: count }, () => 1);
  let nu = ties > 0 ? 1 : 0; // ν of ties
  for (let round = 0; round < MOST_ROUNDS; round++) {
    let [moved, tied] = [0, 0];
    for (let i = 0; i < count; i++) {
      let expected = 0;
      for (let j = 0; j < count; j++) {
        const n = met[i]?.[j] ?? 0;
        if (n === 0) continue;
        const [p, q] = [strength[i] as number, strength[j] as number];
        const root = Math.sqrt(p * q);
        expected += (n * (1 + (nu / 2) * Math.sqrt(q / p))) / (p + q + nu * root);
        tied += (n / 2) * (root / (p + q + nu * root));
      }
      if (expected === 0) continue;
      const next = (won[i] as number) / expected;
      moved = Math.max(moved, Math.abs(Math.log(next / (strength[i] as number))));
      strength[i] = next;
    }
    if (tied > 0) nu = ties / tied;
    if (moved < CLOSE) break;
  }
  const isMet = (i: number): boolean => (won[i] as number) > 0; // the prior gives each that was compared half a win
  const logs = strength.flatMap((value, i) => (isMet(i) ? [Math.log(value)] : []));
  const centre = logs.reduce((sum, value) => sum + value, 0) / logs.length;
  return strength.map((value, i) => (isMet(i) ? Math.log(value) - centre : 0));
}

/** The same with 95 % intervals by the bootstrap. groups: of each match, the prompt; those of one are drawn together. */
export const bradleyTerryIntervals = (
  matches: readonly Match[],
  count: number,
  groups: readonly string[],
): Estimate[] =>
  bootstrapEach(
    matches.length,
    (rows) =>
      bradleyTerry(
        rows.map((row) => matches[row] as Match),
        count,
      ),
    { groups, resamples: 200 },
  );

/** How often two met, by model and model; how much each won, ties as halves; and how many ties there were. */
function counted(matches: readonly Match[], count: number): { met: number[][]; won: number[]; ties: number } {
  const met = Array.from({ length: count }, () => Array.from({ length: count }, () => 0));
  const won = Array.from({ length: count }, () => 0);
  let ties = 0;
  const add = (i: number, j: number, wins: number, n: number): void => {
    const row = met[i] as number[];
    row[j] = (row[j] as number) + n;
    won[i] = (won[i] as number) + wins;
  };
  for (const { a, b, share } of matches) {
    add(a, b, share, 1);
    add(b, a, 1 - share, 1);
    if (share === 0.5) ties++;
  }
  for (const [i, row] of met.entries())
    for (const [j, n] of row.entries()) if (n > 0) add(i, j, PRIOR, 2 * PRIOR);
  return { met, won, ties };
}
