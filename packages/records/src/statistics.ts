// Intervals and tests for comparisons of paired samples. Everything is seeded: the same data give the same numbers.

/** An estimate with the bounds of its 95 % bootstrap interval. */
export interface Estimate {
  value: number;
  low: number;
  high: number;
}

/** mulberry32: uniform numbers in [0, 1). Small, and enough for resampling. */
function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Arithmetic mean; NaN of nothing. */
export const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** How a bootstrap draws. groups: rows that belong together (the images of one prompt) are drawn together. */
export interface BootstrapOptions {
  seed?: number;
  resamples?: number;
  groups?: readonly (string | number)[];
}

/** 95 % percentile bootstrap of a statistic of n rows. Source: Efron & Tibshirani 1993, chapter 13. */
export const bootstrap = (
  count: number,
  statistic: (rows: readonly number[]) => number,
  options: BootstrapOptions = {},
): Estimate => bootstrapEach(count, (rows) => [statistic(rows)], options)[0] as Estimate;

/** The same of several statistics of the same draws. */
export function bootstrapEach(
  count: number,
  statistics: (rows: readonly number[]) => number[],
  { seed = 0, resamples = 1000, groups }: BootstrapOptions = {},
): Estimate[] {
  const all = Array.from({ length: count }, (_, i) => i);
  const clusters = clustersOf(all, groups);
  const draw = uniform(seed);
  const drawn = Array.from({ length: resamples }, () =>
    statistics(clusters.flatMap(() => clusters[Math.floor(draw() * clusters.length)] as number[])),
  );
  return statistics(all).map((value, i) => {
    const sorted = drawn.map((values) => values[i] as number).sort((a, b) => a - b);
    const at = (share: number): number =>
      sorted[Math.min(resamples - 1, Math.max(0, Math.round(share * (resamples - 1))))] as number;
    return { value, low: at(0.025), high: at(0.975) };
  });
}

function clustersOf(rows: readonly number[], groups: BootstrapOptions["groups"]): number[][] {
  if (!groups) return rows.map((row) => [row]);
  const clusters = new Map<string | number, number[]>();
  for (const row of rows) {
    const group = groups[row] as string | number;
    const cluster = clusters.get(group);
    if (cluster) cluster.push(row);
    else clusters.set(group, [row]);
  }
  return [...clusters.values()];
}

/** Mean with its interval. */
export const bootstrapMean = (values: readonly number[], options: BootstrapOptions = {}): Estimate =>
  bootstrap(values.length, (rows) => mean(rows.map((row) => values[row] as number)), options);

/** Share of pairs in which b is larger than a; a tie counts one half. */
export function winRate(
  a: readonly number[],
  b: readonly number[],
  options: BootstrapOptions = {},
): Estimate {
  if (a.length !== b.length) throw new RangeError(`winRate: ${a.length} and ${b.length} values are no pairs`);
  const wins = a.map((value, i) => (Math.sign((b[i] as number) - value) + 1) / 2);
  return bootstrapMean(wins, options);
}

/** Two-sided p of the sign test: how likely at least so many wins or losses are by chance. Ties are left out. Exact. */
export function signTest(a: readonly number[], b: readonly number[]): number {
  const signs = a.map((value, i) => Math.sign((b[i] as number) - value)).filter((sign) => sign !== 0);
  const n = signs.length;
  if (n === 0) return 1;
  const wins = signs.filter((sign) => sign > 0).length;
  const tail = Math.max(wins, n - wins);
  let logTerm = -n * Math.LN2; // log of C(n, n)/2^n
  let p = 0;
  for (let k = n; k >= tail; k--) {
    p += Math.exp(logTerm);
    logTerm += Math.log(k) - Math.log(n - k + 1);
  }
  return Math.min(1, 2 * p);
}
