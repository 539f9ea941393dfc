import { scope, type Tensor } from "@spo/torch";
import { z } from "zod";
import { count } from "../config.js";
import { boundX0 } from "../process/bound-x0.js";
import type { GaussianStep } from "../process/gaussian.js";
import { MOST_TIMESTEPS } from "../process/vp-config.js";
import type { VpSchedule } from "../process/vp-schedule.js";
import { gaussianSampler, refuseNoiseAlone, type Sampler, settingsOf, unsupported } from "./sampler.js";

/** What LCM reads of a scheduler_config.json beside the process. */
export const LcmConfig = z.looseObject({
  original_inference_steps: count(MOST_TIMESTEPS).nullish(),
  timestep_scaling: z.number().positive().max(1e6).nullish(),
});

/**
 * The Gaussian of one step of a consistency model: its clean latents, noised again to the next level.
 *
 * f = c_out·x̂0 + c_skip·x_t, c_skip = s²/(τ² + s²), c_out = τ/√(τ² + s²), τ = scaledTimestep, s = ½; mean = √ᾱ'·f, std = √(1−ᾱ').
 * xt [b, c, h, w]; x0: predicted with guidance. Source: Luo et al. 2023, "Latent Consistency Models", algorithm 3; Song et al. 2023,
 * appendix C.
 */
export function lcmStep(
  xt: Tensor,
  x0: Tensor,
  { scaledTimestep, alphaBarPrev }: { scaledTimestep: number; alphaBarPrev: number },
): GaussianStep {
  const variance = SIGMA_DATA ** 2;
  const norm = scaledTimestep ** 2 + variance;
  return scope(() => {
    const clean = x0.mul(scaledTimestep / Math.sqrt(norm)).add(xt, { alpha: variance / norm });
    return { x0, mean: clean.mul(Math.sqrt(alphaBarPrev)), std: Math.sqrt(1 - alphaBarPrev) };
  });
}

const SIGMA_DATA = 0.5;

/** Timesteps of the distillation, largest first, N of them evenly by index. Source: diffusers LCMScheduler. */
export function lcmTimesteps(schedule: VpSchedule, steps: number): number[] {
  const { original_inference_steps } = settingsOf(LcmConfig, schedule);
  const trained = schedule.trainTimesteps;
  const taught = original_inference_steps ?? 50;
  if (taught > trained || steps > taught)
    throw unsupported(
      `has ${taught} original_inference_steps: LCM makes at most as many, and no more than ${trained} in training; ${steps} are asked for.`,
      "Ask for 4 to 8 steps.",
    );
  const stride = Math.floor(trained / taught);
  return Array.from({ length: steps }, (_, i) => (taught - Math.floor(i * (taught / steps))) * stride - 1);
}

/** The sampler of consistency models, and of a checkpoint with an LCM adapter: 4 to 8 steps at a guidance of 1 to 2. */
export function lcmSampler(schedule: VpSchedule, steps: number): Sampler {
  const timesteps = lcmTimesteps(schedule, steps);
  const scaling = settingsOf(LcmConfig, schedule).timestep_scaling ?? 10;
  refuseNoiseAlone(schedule, timesteps);
  return gaussianSampler(timesteps, (x, output, i) => {
    const [t, next] = [timesteps[i] as number, timesteps[i + 1]];
    const x0 = boundX0(schedule.x0Of(x, output, schedule.alphaBar(t)), schedule.config);
    // The last goes to no noise.
    return lcmStep(x, x0, {
      scaledTimestep: scaling * t,
      alphaBarPrev: next === undefined ? 1 : schedule.alphaBar(next),
    });
  });
}
