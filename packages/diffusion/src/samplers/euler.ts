import { scope, type Tensor } from "@spo/torch";
import { evenly, type NoiseSchedule, type TimestepSpacing } from "./noise-schedule.js";
import type { Sampler } from "./sampler.js";
import {
  alphaBarOf,
  karrasRange,
  karrasSigmas,
  type SigmaPlan,
  sigmaAt,
  timestepOf,
  withFinal,
} from "./sigmas.js";

/**
 * One Euler step of dx/dσ = ε: x + (σ' − σ)·ε.
 *
 * x [b, c, h, w] is clean latents + σ·noise (not scaled to unit variance), ε guided. Source: Karras et al. 2022, eq. 1 and algorithm 1.
 */
export function eulerStep(
  x: Tensor,
  eps: Tensor,
  { sigma, sigmaNext }: { sigma: number; sigmaNext: number },
): Tensor {
  return x.add(eps, { alpha: sigmaNext - sigma });
}

/** The levels that Euler samplers visit. Source: diffusers EulerDiscreteScheduler. */
export function eulerPlan(schedule: NoiseSchedule, steps: number, { karras = false } = {}): SigmaPlan {
  const spaced = eulerTimesteps(schedule, steps);
  const sigmas = spaced.map((t) => sigmaAt(schedule, t));
  if (!karras) return { timesteps: spaced, sigmas: withFinal(schedule, sigmas) };
  const ends = { min: sigmas.at(-1) as number, max: sigmas[0] as number };
  const levels = karrasSigmas(karrasRange(schedule, ends), steps);
  return {
    timesteps: levels.map((sigma) => Math.fround(timestepOf(schedule, sigma))),
    sigmas: withFinal(schedule, levels),
  };
}

/** Standard deviation of the first x: σ itself, or with the clean part's unit variance where the spacing stops short of the last timestep. */
export function eulerInitialScale(schedule: NoiseSchedule, sigmas: readonly number[]): number {
  const largest = Math.max(...sigmas);
  return eulerSpacing(schedule) === "leading" ? Math.sqrt(largest ** 2 + 1) : largest;
}

/** x scaled to unit variance, as the model has seen it in training: x/√(σ² + 1). */
export const unitVariance = (x: Tensor, sigma: number): Tensor => x.div(Math.sqrt(sigma ** 2 + 1));

const eulerSpacing = ({ config }: NoiseSchedule): TimestepSpacing => config.timestep_spacing ?? "linspace";

/** As the schedule's, but `linspace` is not rounded. */
function eulerTimesteps(schedule: NoiseSchedule, steps: number): number[] {
  const spacing = eulerSpacing(schedule);
  if (spacing !== "linspace") return schedule.timesteps(steps, spacing);
  const last = schedule.config.num_train_timesteps - 1;
  return Array.from({ length: steps }, (_, i) => Math.fround(evenly(last, steps, i)));
}

/** Euler over a checkpoint's schedule; Karras' levels where its config says so. */
export function eulerSampler(schedule: NoiseSchedule, steps: number): Sampler {
  const karras = schedule.config.use_karras_sigmas ?? false;
  const { timesteps, sigmas } = eulerPlan(schedule, steps, { karras });
  const at = (i: number): number => sigmas[i] as number;
  return {
    timesteps,
    initialScale: eulerInitialScale(schedule, sigmas),
    alphaBar: (i) => alphaBarOf(at(i)),
    input: (x, i) => unitVariance(x, at(i)),
    step: ({ x }, output, i) =>
      scope(() => {
        const eps = schedule.epsOf(unitVariance(x, at(i)), output, alphaBarOf(at(i)));
        return { x: eulerStep(x, eps, { sigma: at(i), sigmaNext: at(i + 1) }), history: [] };
      }),
  };
}
