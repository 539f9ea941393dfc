// Noise levels spread between a largest and a smallest.

/** σ_i = (σ_max^{1/ρ} + i/(n−1)·(σ_min^{1/ρ} − σ_max^{1/ρ}))^ρ. Source: Karras et al. 2022, eq. 5. */
export function karrasSigmas(
  { min, max }: { min: number; max: number },
  n: number,
  { rho = 7 } = {},
): number[] {
  const [high, low] = [max ** (1 / rho), min ** (1 / rho)];
  return Array.from({ length: n }, (_, i) => (high + (n === 1 ? 0 : i / (n - 1)) * (low - high)) ** rho);
}

/** ln σ evenly from the largest level to the smallest; `round` is done to both ends' logarithms. */
export function exponentialSigmas(
  { min, max }: { min: number; max: number },
  n: number,
  round = (log: number): number => log,
): number[] {
  const [high, low] = [round(Math.log(max)), round(Math.log(min))];
  const step = n === 1 ? 0 : (low - high) / (n - 1);
  return Array.from({ length: n }, (_, i) => Math.exp(i > 0 && i === n - 1 ? low : high + i * step));
}

/**
 * Quantiles of a beta distribution over the levels: close together at both ends. Source: Lee et al. 2024, "Beta Sampling is All You Need".
 */
export function betaSigmas({ min, max }: { min: number; max: number }, n: number): number[] {
  return Array.from(
    { length: n },
    (_, i) => min + betaQuantile(1 - (n === 1 ? 0 : i / (n - 1))) * (max - min),
  );
}

/** x at which the beta distribution with α = β = 0.6 has come to p. p in [0, 1]. */
function betaQuantile(p: number): number {
  if (p > 0.5) return 1 - betaQuantile(1 - p); // it is symmetric
  let [below, above] = [0, 0.5];
  while (true) {
    const middle = (below + above) / 2;
    if (middle === below || middle === above) return p === 0.5 ? above : below;
    if (betaIntegral(middle) < p * 2 * betaIntegral(0.5)) below = middle;
    else above = middle;
  }
}

/** ∫₀ˣ (t(1−t))^{−0.4} dt by the binomial series of (1−t)^{−0.4}. x in [0, ½], where 60 terms are exact. */
function betaIntegral(x: number): number {
  let [sum, term] = [0, x ** 0.6];
  for (let n = 0; n < 60; n++) {
    sum += term / (n + 0.6);
    term *= (x * (n + 0.4)) / (n + 1);
  }
  return sum;
}
