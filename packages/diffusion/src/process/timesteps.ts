import { halfToEven } from "@spo/torch/rounding";

/** The spacing of the visited timesteps in those of training. Source: Lin et al. 2024, table 2. */
export type TimestepSpacing = "leading" | "linspace" | "trailing";

/**
 * N whole timesteps out of [0, count), largest first; `last` of them are used, counted from 0.
 *
 * leading: stride·(N−1−i) + offset, stride = ⌊last/N⌋; linspace: evenly from last − 1 to 0; trailing: last − i·count/N − 1, while above −1;
 * the latter two rounded. Source: Lin et al. 2024, table 2; diffusers.
 */
export function spacedTimesteps(
  steps: number,
  spacing: TimestepSpacing,
  { count, last = count, offset }: { count: number; last?: number; offset: number },
): number[] {
  // Sums and products in numpy's order, because they decide which way a half is rounded.
  const back = last - count / steps - last;
  const at: Record<TimestepSpacing, (i: number) => number> = {
    leading: (i) => Math.floor(last / steps) * (steps - 1 - i) + offset,
    linspace: (i) => halfToEven(evenly(last - 1, steps, i)),
    trailing: (i) => halfToEven(last + i * back) - 1,
  };
  const length = spacing === "trailing" ? Math.ceil((last * steps) / count) : steps;
  return Array.from({ length }, (_, i) => at[spacing](i));
}

/** The i-th of n numbers from `last` down to 0, as numpy's `linspace` has them; 0 where there is one only. */
export function evenly(last: number, n: number, i: number): number {
  if (n === 1) return 0;
  return i === 0 ? last : (last / (n - 1)) * (n - 1 - i);
}
