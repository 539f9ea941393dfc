import { scope, type Tensor, UserError } from "@spo/torch";
import type { NoiseSchedule } from "./noise-schedule.js";
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
 * One step of DPM-Solver++, first order, or second (multistep, midpoint) where the step before is given.
 *
 * x [b, c, h, w] of unit variance; x0: the clean latents predicted at this step, `previous.x0` at the one before it. λ = −ln σ, h = λ' − λ,
 * r = h_before/h, D = x̂0 + (x̂0 − x̂0_before)/(2r), x' = (σ'_t/σ_t)·x − α'_t·(e^{−h} − 1)·D, where α_t = √ᾱ and σ_t = √(1−ᾱ).
 * Source: Lu et al. 2022, "DPM-Solver++", eq. 9 and algorithm 2.
 */
export function dpmSolverStep(
  x: Tensor,
  x0: Tensor,
  {
    sigma,
    sigmaNext,
    previous,
  }: { sigma: number; sigmaNext: number; previous?: { x0: Tensor; sigma: number } },
): Tensor {
  return scope(() => {
    const alpha = Math.sqrt(alphaBarOf(sigma));
    const alphaNext = Math.sqrt(alphaBarOf(sigmaNext));
    const decay = sigmaNext / sigma; // e^{−h}
    const h = Math.log(sigma) - Math.log(sigmaNext); // infinite where σ' is 0
    let d = x0;
    if (previous) {
      const r = (Math.log(previous.sigma) - Math.log(sigma)) / h;
      d = x0.add(x0.sub(previous.x0), { alpha: 1 / (2 * r) });
    }
    return x.mul((alphaNext / alpha) * decay).add(d, { alpha: alphaNext * (1 - decay) });
  });
}

/** The levels that it visits: N of N + 1 spaced ones, or Karras' over the whole range of training. Source: diffusers. */
export function dpmSolverPlan(schedule: NoiseSchedule, steps: number, { karras = false } = {}): SigmaPlan {
  const { num_train_timesteps: count, timestep_spacing: spacing = "linspace" } = schedule.config;
  const least = schedule.config.lambda_min_clipped ?? Number.NEGATIVE_INFINITY;
  if (-Math.log(schedule.sigma(count - 1)) < least) {
    throw new UserError(
      `scheduler_config.json asks for lambda_min_clipped ${least}, which cuts this noise schedule short; that is not supported here.`,
      { code: "CONFIG", hint: "Leave it out, or choose another scheduler." },
    );
  }
  if (karras) {
    const ends = { min: schedule.sigma(0), max: schedule.sigma(count - 1) };
    const levels = karrasSigmas(karrasRange(schedule, ends), steps);
    const timesteps = levels.map((sigma) => Math.round(timestepOf(schedule, sigma)));
    return { timesteps, sigmas: withFinal(schedule, levels) };
  }
  const timesteps =
    spacing === "trailing"
      ? schedule.timesteps(steps, spacing)
      : schedule.timesteps(steps + 1, spacing).slice(0, steps);
  return {
    timesteps,
    sigmas: withFinal(
      schedule,
      timesteps.map((t) => sigmaAt(schedule, t)),
    ),
  };
}

/** Fewer steps than this end with one of first order. */
const FEW_STEPS = 15;

/** DPM-Solver++ 2M over a checkpoint's schedule; Karras' levels where its config says so. History: the last x̂0. */
export function dpmSolverSampler(schedule: NoiseSchedule, steps: number): Sampler {
  const { use_karras_sigmas, lower_order_final, euler_at_final, final_sigmas_type } = schedule.config;
  const { timesteps, sigmas } = dpmSolverPlan(schedule, steps, { karras: use_karras_sigmas ?? false });
  const at = (i: number): number => sigmas[i] as number;
  const firstOrderLast =
    (euler_at_final ?? false) ||
    ((lower_order_final ?? true) && steps < FEW_STEPS) ||
    final_sigmas_type !== "sigma_min";
  return {
    timesteps,
    initialScale: 1,
    alphaBar: (i) => alphaBarOf(at(i)),
    input: (x) => x,
    step: ({ x, history: [before] }, output, i) =>
      scope(() => {
        const alphaBar = alphaBarOf(at(i));
        const x0 = schedule.x0Of(x, output, alphaBar);
        const previous =
          before && !(i === steps - 1 && firstOrderLast) ? { x0: before, sigma: at(i - 1) } : undefined;
        return { x: dpmSolverStep(x, x0, { sigma: at(i), sigmaNext: at(i + 1), previous }), history: [x0] };
      }),
  };
}
