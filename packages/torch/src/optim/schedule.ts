// Learning-rate factors as functions of the step (0 for the first), as in diffusers' `get_scheduler`. Steps may be fractions.

const ramp = (step: number, warmup: number): number => (step < warmup ? step / warmup : 1);

/** Rises to 1 over `warmup` steps and stays. */
export const warmupConstant = (step: number, { warmup }: { warmup: number }): number => ramp(step, warmup);

/** Rises to 1, then falls in a line to 0 at `total`. */
export function warmupLinear(step: number, { warmup, total }: { warmup: number; total: number }): number {
  if (step < warmup) return ramp(step, warmup);
  return Math.max(0, (total - step) / Math.max(1, total - warmup));
}

/** Rises to 1, then falls along half a cosine to 0 at `total`. */
export function warmupCosine(step: number, { warmup, total }: { warmup: number; total: number }): number {
  if (step < warmup) return ramp(step, warmup);
  const progress = Math.min(1, (step - warmup) / Math.max(1, total - warmup));
  return 0.5 * (1 + Math.cos(Math.PI * progress));
}
