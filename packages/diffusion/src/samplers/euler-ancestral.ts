import { scope, type Tensor } from "@spo/torch";
import type { GaussianStep } from "../process/gaussian.js";
import type { VpSchedule } from "../process/vp-schedule.js";
import { eulerInitialScale, eulerStep, eulerTimesteps, noisyX0, unitVariance } from "./euler.js";
import { drawn, type Sampler, unsupported } from "./sampler.js";
import { sigmaAt } from "./sigmas.js";

/**
 * An Euler step to σ_down, and noise of spread σ_up that brings the level to σ': a Gaussian over the next x.
 *
 * σ_up² = σ'²·(σ² − σ'²)/σ², σ_down² = σ'² − σ_up². x [b, c, h, w] is clean latents + σ·noise, x0 predicted with guidance.
 * Source: diffusers EulerAncestralDiscreteScheduler; k-diffusion `get_ancestral_step`, η = 1.
 */
export function eulerAncestralStep(
  x: Tensor,
  x0: Tensor,
  { sigma, sigmaNext }: { sigma: number; sigmaNext: number },
): GaussianStep {
  const { up, down } = ancestralLevels(sigma, sigmaNext);
  return { x0, mean: eulerStep(x, x0, { sigma, sigmaNext: down }), std: up };
}

/** In float32, operation by operation: for a large σ, σ_down is a small difference of large squares, so the reference's rounding shows. */
function ancestralLevels(sigma: number, sigmaNext: number): { up: number; down: number } {
  const f = Math.fround;
  const [now, next] = [f(sigma * sigma), f(sigmaNext * sigmaNext)];
  const up = f(Math.sqrt(f(f(next * f(now - next)) / now)));
  return { up, down: f(Math.sqrt(f(next - f(up * up)))) };
}

/** Euler with fresh noise in every step but the last, over a checkpoint's schedule, at spaced timesteps down to no noise. */
export function eulerAncestralSampler(schedule: VpSchedule, steps: number): Sampler {
  if (schedule.config.prediction_type === "sample")
    throw unsupported('has prediction_type "sample", which ancestral Euler does not know.');
  const timesteps = eulerTimesteps(schedule, steps);
  const sigmas = [...timesteps.map((t) => sigmaAt(schedule, t)), 0];
  const at = (i: number): number => sigmas[i] as number;
  return {
    timesteps,
    sigmas,
    initialScale: eulerInitialScale(schedule, sigmas),
    input: (x, i) => unitVariance(x, at(i)),
    step: ({ x }, output, i, noise) =>
      scope(() => {
        const x0 = noisyX0(schedule, x, output, at(i));
        const step = eulerAncestralStep(x, x0, { sigma: at(i), sigmaNext: at(i + 1) });
        return { x: drawn(step, noise), history: [] };
      }),
  };
}
