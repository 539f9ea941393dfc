/**
 * How a step of a flow draws: by the SDE with the marginals of the ODE whose noise grows with σ (Flow-GRPO), by that of constant noise
 * (DanceGRPO), or so that each step keeps the share of noise of its σ (coefficients-preserving sampling).
 */
export type FlowNoise = "flow-sde" | "constant-sde" | "cps";

/** A step from σ to σ' = next of x_σ = (1−σ)·x_0 + σ·ε. */
export interface FlowLevels {
  /** In (0, 1]. */
  sigma: number;
  /** Below σ, 0 at the image. */
  next: number;
  /** Noise level a: 0 is the ODE's Euler step, whatever the kind. */
  eta: number;
  noise: FlowNoise;
}

/**
 * The Gaussian of a step by a velocity v: μ = ofX·x + ofV·v, and its standard deviation.
 *
 * With Δ = σ' − σ, by the SDEs: μ = x + v·Δ + g²/(2σ)·(x + (1−σ)·v)·Δ, std = g·√−Δ, where g = a·√(σ/(1−σ)), σ' standing for σ in the
 * denominator at σ = 1, or g = a. Source: Liu et al. 2025 (Flow-GRPO); Xue et al. 2025 (DanceGRPO).
 * By CPS: μ = (1−σ')·x̂0 + √(σ'² − std²)·ε̂, std = σ'·sin(a·π/2). Source: Wang & Yu 2025 (FlowCPS).
 */
export function flowStep({ sigma, next, eta, noise }: FlowLevels): { ofX: number; ofV: number; std: number } {
  const delta = next - sigma;
  if (noise === "cps") {
    const std = next * Math.sin((eta * Math.PI) / 2);
    const ofEps = Math.sqrt(Math.max(0, next ** 2 - std ** 2));
    return { ofX: 1 - next + ofEps, ofV: ofEps * (1 - sigma) - (1 - next) * sigma, std };
  }
  const g = noise === "constant-sde" ? eta : eta * Math.sqrt(sigma / (1 - (sigma === 1 ? next : sigma)));
  const drift = (g ** 2 / (2 * sigma)) * delta;
  return { ofX: 1 + drift, ofV: delta + drift * (1 - sigma), std: g * Math.sqrt(-delta) };
}
