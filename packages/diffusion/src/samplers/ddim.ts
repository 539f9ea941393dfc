import { scope, type Tensor } from "@spo/torch";
import { boundX0 } from "./bound-x0.js";
import type { NoiseSchedule } from "./noise-schedule.js";
import { refuseNoiseAlone, type Sampler } from "./sampler.js";

/** A step's Gaussian N(mean, std²·I) over x_{t−1}, and the x̂0 that it assumes. */
export interface GaussianStep {
  x0: Tensor;
  mean: Tensor;
  /** The same for all elements; 0 when η = 0. */
  std: number;
}

/**
 * q(x_{t−1} | x_t) of DDIM.
 *
 * xt, eps (already guided) [b, c, h, w], float32; alphaBar = ᾱ_t, alphaBarPrev = ᾱ at max(t − stride, 0); eta in [0, 1]. `x0`: where it is
 * known otherwise than from ε, as with a model that predicts v.
 * Source: Song et al. 2021, eq. 12; std: eq. 16.
 */
export function ddimStep(
  xt: Tensor,
  eps: Tensor,
  {
    alphaBar,
    alphaBarPrev,
    eta,
    x0: known,
  }: { alphaBar: number; alphaBarPrev: number; eta: number; x0?: Tensor },
): GaussianStep {
  return scope(() => {
    const std = ddimStd({ alphaBar, alphaBarPrev, eta });
    const x0 = known ?? predictX0(xt, eps, alphaBar);
    const mean = x0
      .mul(Math.sqrt(alphaBarPrev))
      .add(eps, { alpha: Math.sqrt(Math.max(0, 1 - alphaBarPrev - std ** 2)) });
    return { x0, mean, std };
  });
}

/**
 * ε and x̂0 of a model's output as DDIM takes them. xt [b, c, h, w] of signal share alphaBar.
 *
 * Where the config bounds x̂0 (`clip_sample`, `thresholding`), ε stays as it was predicted. Source: diffusers DDIMScheduler, without
 * `use_clipped_model_output`.
 */
export function ddimPrediction(
  schedule: NoiseSchedule,
  xt: Tensor,
  output: Tensor,
  alphaBar: number,
): { eps: Tensor; x0: Tensor } {
  return scope(() => ({
    eps: schedule.epsOf(xt, output, alphaBar),
    x0: boundX0(schedule.x0Of(xt, output, alphaBar), schedule),
  }));
}

/** DDIM over a checkpoint's schedule: η = 0 is deterministic, 1 has as much noise as DDPM. */
export function ddimSampler(schedule: NoiseSchedule, steps: number, { eta = 0 } = {}): Sampler {
  const timesteps = schedule.timesteps(steps);
  const alphaBar = (i: number): number => schedule.alphaBar(timesteps[i] as number);
  refuseNoiseAlone(
    schedule,
    timesteps.map((_, i) => alphaBar(i)),
  );
  return {
    timesteps,
    initialScale: 1,
    alphaBar,
    input: (x) => x,
    step: ({ x }, output, i, noise) =>
      scope(() => {
        const { eps, x0 } = ddimPrediction(schedule, x, output, alphaBar(i));
        const end = (timesteps[i] as number) - schedule.stride(steps);
        const { mean, std } = ddimStep(x, eps, {
          alphaBar: alphaBar(i),
          alphaBarPrev: schedule.alphaBarAtEnd(end),
          eta,
          x0,
        });
        return { x: std === 0 ? mean : mean.add(noise(), { alpha: std }), history: [] };
      }),
  };
}

/**
 * Standard deviation of that step. Source: Song et al. 2021, eq. 16.
 *
 * In float32, operation by operation: 1 − ᾱ_t/ᾱ_prev is small where the noise is, and the log-density shows how the references round it.
 */
export function ddimStd({
  alphaBar: a,
  alphaBarPrev: p,
  eta,
}: {
  alphaBar: number;
  alphaBarPrev: number;
  eta: number;
}): number {
  const f = Math.fround;
  return eta * f(Math.sqrt(f(f(f(1 - p) / f(1 - a)) * f(1 - f(a / p)))));
}

/** x̂0 = (x_t − √(1−ᾱ)·ε)/√ᾱ. */
export function predictX0(xt: Tensor, eps: Tensor, alphaBar: number): Tensor {
  return scope(() => xt.sub(eps, { alpha: Math.sqrt(1 - alphaBar) }).div(Math.sqrt(alphaBar)));
}

/** ε = (x_t − √ᾱ·x̂0)/√(1−ᾱ). */
export function epsFromX0(xt: Tensor, x0: Tensor, alphaBar: number): Tensor {
  return scope(() => xt.sub(x0, { alpha: Math.sqrt(alphaBar) }).div(Math.sqrt(1 - alphaBar)));
}

/** ε from a v-prediction: √ᾱ·v + √(1−ᾱ)·x_t. Source: Salimans & Ho 2022, appendix D. */
export function epsFromV(xt: Tensor, v: Tensor, alphaBar: number): Tensor {
  return scope(() => v.mul(Math.sqrt(alphaBar)).add(xt, { alpha: Math.sqrt(1 - alphaBar) }));
}

/** x̂0 from a v-prediction: √ᾱ·x_t − √(1−ᾱ)·v. Source: Salimans & Ho 2022, appendix D. */
export function x0FromV(xt: Tensor, v: Tensor, alphaBar: number): Tensor {
  return scope(() => xt.mul(Math.sqrt(alphaBar)).sub(v, { alpha: Math.sqrt(1 - alphaBar) }));
}

/**
 * log N(x; mean, std²), averaged (not summed) over all axes but the first. x, mean [b, c, h, w] → [b].
 *
 * The mean makes SPO's β independent of the latents' size. Source: SPO's reference implementation.
 */
export function gaussianLogProb(x: Tensor, { mean, std }: { mean: Tensor; std: number }): Tensor {
  return scope(() => {
    const axes = x.shape.slice(1).map((_, i) => i + 1);
    return x
      .sub(mean)
      .square()
      .mean(axes)
      .div(-2 * std ** 2)
      .sub(Math.log(std) + 0.5 * Math.log(2 * Math.PI));
  });
}
