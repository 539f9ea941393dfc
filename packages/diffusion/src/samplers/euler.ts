import { scope, type Tensor } from "@spo/torch";
import { z } from "zod";
import { exponentialSigmas } from "../process/spaced-sigmas.js";
import { evenly, type TimestepSpacing } from "../process/timesteps.js";
import type { VpSchedule } from "../process/vp-schedule.js";
import { type Sampler, settingsOf } from "./sampler.js";
import { levelSpacing, type SigmaPlan, sigmaAt, spacedLevels, timestepOf, withFinal } from "./sigmas.js";

/** What Euler reads of a scheduler_config.json beside the process and the levels. */
export const EulerConfig = z.looseObject({
  interpolation_type: z.enum(["linear", "log_linear"]).nullish(),
  timestep_type: z.enum(["discrete", "continuous"]).nullish(),
});

/**
 * One Euler step of dx/dσ = (x − x̂0)/σ: x + (σ' − σ)·(x − x̂0)/σ.
 *
 * x [b, c, h, w] is clean latents + σ·noise (not scaled to unit variance), x0 predicted with guidance. Source: Karras et al. 2022,
 * algorithm 1.
 */
export function eulerStep(
  x: Tensor,
  x0: Tensor,
  { sigma, sigmaNext }: { sigma: number; sigmaNext: number },
): Tensor {
  // Each product is rounded by itself, as in diffusers: after a level of 4096 another rounding would show.
  return scope(() =>
    x.add(
      x
        .sub(x0)
        .div(sigma)
        .mul(sigmaNext - sigma),
    ),
  );
}

/** x̂0 of a model's output for x/√(σ²+1). x [b, c, h, w] is clean latents + σ·noise. Source: diffusers EulerDiscreteScheduler. */
export function noisyX0({ config }: VpSchedule, x: Tensor, output: Tensor, sigma: number): Tensor {
  const variance = sigma ** 2 + 1;
  return scope(() => {
    switch (config.prediction_type) {
      case "epsilon":
        return x.sub(output.mul(sigma));
      case "v_prediction":
        return output.mul(-sigma / Math.sqrt(variance)).add(x.div(variance));
      case "sample":
        return output;
    }
  });
}

/** The levels that Euler visits: at spaced timesteps, or as the config spaces levels. Source: diffusers EulerDiscreteScheduler. */
export function eulerPlan(schedule: VpSchedule, steps: number): SigmaPlan {
  const spaced = eulerTimesteps(schedule, steps);
  const count = schedule.trainTimesteps;
  const levels =
    settingsOf(EulerConfig, schedule).interpolation_type === "log_linear"
      ? // One level too many, so that the last step ends at the smallest of training and none is 0: as the reference has it.
        exponentialSigmas({ min: schedule.sigma(0), max: schedule.sigma(count - 1) }, steps + 1)
      : spaced.map((t) => sigmaAt(schedule, t));
  const spacing = levelSpacing(schedule);
  if (!spacing || spacing === "lu")
    return { timesteps: shownTimesteps(schedule, spaced, levels), sigmas: withFinal(schedule, levels) };
  const ends = { min: levels.at(-1) as number, max: levels[0] as number };
  const own = spacedLevels(schedule, spacing, ends, steps);
  const timesteps = own.map((sigma) => Math.fround(timestepOf(schedule, sigma)));
  return { timesteps: shownTimesteps(schedule, timesteps, own), sigmas: withFinal(schedule, own) };
}

/** What the model is told: a timestep, or with `timestep_type: "continuous"` and v a quarter of ln σ. */
function shownTimesteps(schedule: VpSchedule, timesteps: number[], sigmas: readonly number[]): number[] {
  const { timestep_type: type } = settingsOf(EulerConfig, schedule);
  if (type !== "continuous" || schedule.config.prediction_type !== "v_prediction") return timesteps;
  return timesteps.map((_, i) => Math.fround(0.25 * Math.log(Math.fround(sigmas[i] as number))));
}

/** Standard deviation of the first x: σ, or √(σ² + 1) where the spacing stops before the last timestep. */
export function eulerInitialScale(schedule: VpSchedule, sigmas: readonly number[]): number {
  const largest = sigmas.reduce((most, sigma) => Math.max(most, sigma), 0);
  return eulerSpacing(schedule) === "leading" ? Math.sqrt(largest ** 2 + 1) : largest;
}

/** x scaled to unit variance, as the model has seen it in training: x/√(σ² + 1). */
export const unitVariance = (x: Tensor, sigma: number): Tensor => x.div(Math.sqrt(sigma ** 2 + 1));

const eulerSpacing = ({ config }: VpSchedule): TimestepSpacing => config.timestep_spacing ?? "linspace";

/** As the schedule's, but `linspace` is not rounded. */
export function eulerTimesteps(schedule: VpSchedule, steps: number): number[] {
  const spacing = eulerSpacing(schedule);
  if (spacing !== "linspace") return schedule.timesteps(steps, spacing);
  const last = schedule.trainTimesteps - 1;
  return Array.from({ length: steps }, (_, i) => Math.fround(evenly(last, steps, i)));
}

/** Euler over a checkpoint's schedule. */
export function eulerSampler(schedule: VpSchedule, steps: number): Sampler {
  const { timesteps, sigmas } = eulerPlan(schedule, steps);
  const at = (i: number): number => sigmas[i] as number;
  return {
    timesteps,
    sigmas,
    initialScale: eulerInitialScale(schedule, sigmas),
    input: (x, i) => unitVariance(x, at(i)),
    step: ({ x }, output, i) =>
      scope(() => {
        const x0 = noisyX0(schedule, x, output, at(i));
        return { x: eulerStep(x, x0, { sigma: at(i), sigmaNext: at(i + 1) }), history: [] };
      }),
  };
}
