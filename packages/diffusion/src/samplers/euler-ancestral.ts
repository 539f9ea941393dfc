import { scope, type Tensor } from "@spo/torch";
import type { GaussianStep } from "./ddim.js";
import { eulerInitialScale, eulerPlan, eulerStep, unitVariance } from "./euler.js";
import type { NoiseSchedule } from "./noise-schedule.js";
import type { Sampler } from "./sampler.js";
import { alphaBarOf } from "./sigmas.js";

/**
 * An Euler step to σ_down, and noise of spread σ_up that brings the level to σ': a Gaussian over the next x.
 *
 * σ_up² = σ'²·(σ² − σ'²)/σ², σ_down² = σ'² − σ_up². x [b, c, h, w] is clean latents + σ·noise, ε guided.
 * Source: diffusers EulerAncestralDiscreteScheduler; k-diffusion `get_ancestral_step`, η = 1.
 */
export function eulerAncestralStep(
  x: Tensor,
  eps: Tensor,
  { sigma, sigmaNext }: { sigma: number; sigmaNext: number },
): GaussianStep {
  const up = Math.sqrt((sigmaNext ** 2 * (sigma ** 2 - sigmaNext ** 2)) / sigma ** 2);
  const down = Math.sqrt(sigmaNext ** 2 - up ** 2);
  return {
    x0: x.sub(eps, { alpha: sigma }),
    mean: eulerStep(x, eps, { sigma, sigmaNext: down }),
    std: up,
  };
}

/** Euler with fresh noise in every step but the last, over a checkpoint's schedule. */
export function eulerAncestralSampler(schedule: NoiseSchedule, steps: number): Sampler {
  const { timesteps, sigmas: levels } = eulerPlan(schedule, steps);
  const sigmas = [...levels.slice(0, -1), 0]; // it always goes to 0, whatever `final_sigmas_type` says
  const at = (i: number): number => sigmas[i] as number;
  return {
    timesteps,
    initialScale: eulerInitialScale(schedule, sigmas),
    alphaBar: (i) => alphaBarOf(at(i)),
    input: (x, i) => unitVariance(x, at(i)),
    step: ({ x }, output, i, noise) =>
      scope(() => {
        const eps = schedule.epsOf(unitVariance(x, at(i)), output, alphaBarOf(at(i)));
        const { mean, std } = eulerAncestralStep(x, eps, { sigma: at(i), sigmaNext: at(i + 1) });
        return { x: std === 0 ? mean : mean.add(noise(), { alpha: std }), history: [] };
      }),
  };
}
