import { scope, type Tensor } from "@spo/torch";
import { boundX0 } from "./bound-x0.js";
import type { GaussianStep } from "./ddim.js";
import type { NoiseSchedule } from "./noise-schedule.js";
import { refuseNoiseAlone, type Sampler, unsupported } from "./sampler.js";

/**
 * The Gaussian of one step of a consistency model: its clean latents, noised again to the next level.
 *
 * f = c_out·x̂0 + c_skip·x_t, c_skip = s²/(τ² + s²), c_out = τ/√(τ² + s²), τ = scaledTimestep, s = ½; mean = √ᾱ'·f, std = √(1−ᾱ').
 * xt [b, c, h, w]; x0: predicted with guidance. Source: Luo et al. 2023, "Latent Consistency Models", algorithm 3; Song et al. 2023, appendix C.
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
export function lcmTimesteps(schedule: NoiseSchedule, steps: number): number[] {
  const { num_train_timesteps: count, original_inference_steps } = schedule.config;
  const taught = original_inference_steps ?? 50;
  if (taught > count || steps > taught)
    throw unsupported(
      `has ${taught} original_inference_steps: LCM makes at most as many, and no more than ${count} in training; ${steps} are asked for.`,
      "Ask for 4 to 8 steps.",
    );
  const stride = Math.floor(count / taught);
  return Array.from({ length: steps }, (_, i) => (taught - Math.floor(i * (taught / steps))) * stride - 1);
}

/** The sampler of consistency models, and of a checkpoint with an LCM adapter: 4 to 8 steps at a guidance of 1 to 2. */
export function lcmSampler(schedule: NoiseSchedule, steps: number): Sampler {
  const timesteps = lcmTimesteps(schedule, steps);
  const scaling = schedule.config.timestep_scaling ?? 10;
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
        const x0 = boundX0(schedule.x0Of(x, output, alphaBar(i)), schedule);
        const { mean, std } = lcmStep(x, x0, {
          scaledTimestep: scaling * (timesteps[i] as number),
          alphaBarPrev: i + 1 < steps ? alphaBar(i + 1) : 1, // the last goes to no noise
        });
        return { x: std === 0 ? mean : mean.add(noise(), { alpha: std }), history: [] };
      }),
  };
}
