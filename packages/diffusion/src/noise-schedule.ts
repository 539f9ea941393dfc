import { keep, linspace, scope, type Tensor } from "@spo/torch";
import { z } from "zod";
import { checkConfig, only } from "./config.js";

/** The part of a scheduler_config.json that says how images are noised and which timesteps are visited. */
export const SchedulerConfig = z.looseObject({
  _class_name: z.string().optional(),
  num_train_timesteps: z.int().positive().default(1000),
  beta_start: z.number().positive().default(0.00085),
  beta_end: z.number().positive().default(0.012),
  beta_schedule: z.enum(["scaled_linear", "linear"]).default("scaled_linear"),
  prediction_type: z.enum(["epsilon", "v_prediction"]).default("epsilon"),
  timestep_spacing: z.enum(["leading"]).default("leading"),
  steps_offset: z.int().min(0).default(1),
  set_alpha_to_one: z.boolean().default(false),
  clip_sample: only(false),
  thresholding: only(false),
  rescale_betas_zero_snr: only(false),
  trained_betas: only(null),
});
export type SchedulerConfig = z.input<typeof SchedulerConfig>;

/**
 * β, ᾱ and the sampling timesteps of a checkpoint.
 *
 * `scaled_linear`: β_t = linspace(√β₀, √β₉₉₉, 1000)²; ᾱ = cumprod(1 − β), float32. Source: diffusers; Ho et al. 2020, section 2.
 */
export class NoiseSchedule {
  readonly config: z.output<typeof SchedulerConfig>;
  /** ᾱ, float32 [num_train_timesteps]. */
  readonly alphasCumprod: Tensor;
  readonly #alphaBar: readonly number[];

  constructor(config: SchedulerConfig = {}) {
    this.config = checkConfig(SchedulerConfig, config, "scheduler_config.json");
    const { beta_start: start, beta_end: end, num_train_timesteps: count } = this.config;
    this.alphasCumprod = keep(
      scope(() => {
        const betas =
          this.config.beta_schedule === "linear"
            ? linspace(start, end, count, { dtype: "float32" })
            : linspace(Math.sqrt(start), Math.sqrt(end), count, { dtype: "float32" }).square();
        return betas.neg().add(1).cumprod(0);
      }),
    );
    this.#alphaBar = this.alphasCumprod.toNumbers();
  }

  /** ᾱ_t, the float32 value. t in [0, num_train_timesteps). */
  alphaBar(t: number): number {
    const value = this.#alphaBar[t];
    if (value === undefined) throw new RangeError(`timestep ${t} is not in [0, ${this.#alphaBar.length})`);
    return value;
  }

  /** Timesteps of `steps` sampling steps, largest first: stride·(N−1−i) + offset, stride = ⌊1000/N⌋. */
  timesteps(steps: number): number[] {
    const stride = this.stride(steps);
    return Array.from({ length: steps }, (_, i) => stride * (steps - 1 - i) + this.config.steps_offset);
  }

  /** Distance between two timesteps of a sampling with `steps` steps. */
  stride(steps: number): number {
    const count = this.config.num_train_timesteps;
    if (!Number.isInteger(steps) || steps < 1 || steps > count)
      throw new RangeError(`steps must be an integer from 1 to ${count}`);
    return Math.floor(count / steps);
  }

  /** x_t = √ᾱ_t·x0 + √(1−ᾱ_t)·noise. x0, noise [b, ...]; timesteps int64 [b]. */
  addNoise(x0: Tensor, noise: Tensor, timesteps: Tensor): Tensor {
    return scope(() => {
      const alphaBar = this.alphasCumprod
        .indexSelect(0, timesteps)
        .reshape([-1, ...x0.shape.slice(1).map(() => 1)]);
      return alphaBar.sqrt().mul(x0).add(alphaBar.neg().add(1).sqrt().mul(noise));
    });
  }
}
