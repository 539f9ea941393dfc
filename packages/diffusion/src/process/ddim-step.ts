import { scope, type Tensor } from "@spo/torch";
import type { Gaussian, GaussianStep } from "./gaussian.js";
import { predictX0 } from "./parameterisation.js";
import { factor, type PerRow, perRow, plus } from "./per-row.js";

/** The levels that a step of DDIM goes between, for all rows or row by row. */
export interface DdimLevels {
  /** ᾱ_t. */
  alphaBar: PerRow;
  /** ᾱ of the timestep that the step ends at. */
  alphaBarPrev: PerRow;
  /** In [0, 1]. 0: deterministic; 1: as much noise as DDPM. */
  eta: number;
}

/**
 * q(x_{t−1} | x_t) of DDIM: μ = √ᾱ'·x̂0 + √(1−ᾱ'−σ²)·ε.
 *
 * xt, eps (already guided) [n, c, h, w], float32. `x0`: where it is known otherwise than from ε, as with a model that predicts v.
 * Source: Song et al. 2021, eq. 12; std: eq. 16.
 */
export function ddimStep(
  xt: Tensor,
  eps: Tensor,
  { x0: known, ...levels }: DdimLevels & { x0?: Tensor },
): GaussianStep {
  return scope(() => {
    const { std, ofX0, ofEps } = ddimCoefficients(levels);
    const x0 = known ?? predictX0(xt, eps, levels.alphaBar);
    return { x0, mean: plus(x0.mul(factor(ofX0, x0)), eps, ofEps), std };
  });
}

/**
 * The same Gaussian with x̂0 written out: μ = √(ᾱ'/ᾱ)·x_t + (√(1−ᾱ'−σ²) − √(ᾱ'/ᾱ)·√(1−ᾱ))·ε.
 *
 * For densities: it divides no difference by √ᾱ, and its graph has one product.
 */
export function ddimGaussian(xt: Tensor, eps: Tensor, levels: DdimLevels): Gaussian {
  return scope(() => {
    const { std, ofEps } = ddimCoefficients(levels);
    const { alphaBar, alphaBarPrev } = levels;
    const ofXt = perRow([alphaBar, alphaBarPrev], (a, p) => Math.sqrt(p / a));
    const rest = perRow([ofEps, ofXt, alphaBar], (eps, xt, a) => eps - xt * Math.sqrt(1 - a));
    const clean = xt.mul(factor(ofXt, xt));
    // `addcmul` rounds once, as `add` with a number does.
    const mean =
      typeof rest === "number" ? plus(clean, eps, rest) : clean.addcmul(eps, factor(rest, eps) as Tensor);
    return { mean, std };
  });
}

/** Factors of the mean, and the standard deviation. */
function ddimCoefficients({ alphaBar, alphaBarPrev, eta }: DdimLevels): {
  std: PerRow;
  ofX0: PerRow;
  ofEps: PerRow;
} {
  const std = perRow([alphaBar, alphaBarPrev], (a, p) => ddimStd(a, p, eta));
  return {
    std,
    ofX0: perRow([alphaBarPrev], Math.sqrt),
    ofEps: perRow([alphaBarPrev, std], (p, s) => Math.sqrt(Math.max(0, 1 - p - s ** 2))),
  };
}

/**
 * Standard deviation of a step of DDIM from ᾱ_t = a to ᾱ' = p. Source: Song et al. 2021, eq. 16.
 *
 * In float32, operation by operation: 1 − a/p is small where the noise is, and the log-density shows how the references round it.
 */
export function ddimStd(a: number, p: number, eta: number): number {
  const f = Math.fround;
  return eta * f(Math.sqrt(f(f(f(1 - p) / f(1 - a)) * f(1 - f(a / p)))));
}
