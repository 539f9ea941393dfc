import type { NoiseProcess } from "@spo/diffusion";

/** What a threshold grows with: σ of a step, σ², or the timestep. */
export type ThresholdBy = "sigma" | "variance" | "linear";

/**
 * The threshold of each of N sampling steps: min where a step adds the least noise, max where it adds the most, and between in proportion.
 * Candidates of a noisy step lie farther apart, and the judge's scores with them.
 *
 * τ(t) = min + (s_t − s_least)/(s_most − s_least)·(max − min), s_t the standard deviation of the step at η = 1, its square, or t.
 * Source: Zhang et al. 2025 (LPO), section 3 and its code, where s_t is a table for 20 steps.
 */
export function thresholdsByNoise(
  process: NoiseProcess,
  steps: number,
  { min, max, by }: { min: number; max: number; by: ThresholdBy },
): number[] {
  const noise = process.timesteps(steps).map((t) => {
    if (by === "linear") return t;
    const std = process.std({ t, previous: process.previousTimestep(t, steps), eta: 1 }) as number;
    return by === "sigma" ? std : std ** 2;
  });
  const [least, most] = [Math.min(...noise), Math.max(...noise)];
  return noise.map((s) => (most > least ? min + ((s - least) / (most - least)) * (max - min) : max));
}
