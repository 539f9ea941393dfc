import { cat, keep, linspace, scope, type Tensor } from "@spo/torch";
import { z } from "zod";
import { checkConfig, only } from "../config.js";
import { epsFromV, predictX0, x0FromV } from "./ddim.js";

/** The part of a scheduler_config.json that says how images are noised and which timesteps are visited. */
export const SchedulerConfig = z.looseObject({
  _class_name: z.string().optional(),
  num_train_timesteps: z.int().positive().default(1000),
  beta_start: z.number().positive().default(0.00085),
  beta_end: z.number().positive().default(0.012),
  beta_schedule: z.enum(["scaled_linear", "linear"]).default("scaled_linear"),
  prediction_type: z.enum(["epsilon", "v_prediction"]).default("epsilon"),
  /** Absent: "leading" for DDIM and PNDM, "linspace" for the samplers over sigmas, as diffusers has it. */
  timestep_spacing: z.enum(["leading", "linspace", "trailing"]).optional(),
  steps_offset: z.int().min(0).default(1),
  set_alpha_to_one: z.boolean().default(false),
  use_karras_sigmas: z.boolean().nullish(),
  final_sigmas_type: z.enum(["zero", "sigma_min"]).nullish(),
  sigma_min: z.number().positive().nullish(),
  sigma_max: z.number().positive().nullish(),
  lower_order_final: z.boolean().nullish(),
  euler_at_final: z.boolean().nullish(),
  solver_type: only("midpoint"),
  solver_order: only(2),
  algorithm_type: only("dpmsolver++"),
  skip_prk_steps: z.boolean().nullish(),
  interpolation_type: only("linear"),
  timestep_type: only("discrete"),
  use_exponential_sigmas: only(false),
  use_beta_sigmas: only(false),
  use_lu_lambdas: only(false),
  use_flow_sigmas: only(false),
  clip_sample: only(false),
  thresholding: only(false),
  /** Whether training went up to noise alone: ᾱ is shifted and scaled so that its last is 0. */
  rescale_betas_zero_snr: z.boolean().nullish(),
  /** DPM-Solver starts no lower than here: λ = ln(√ᾱ/√(1−ᾱ)). */
  lambda_min_clipped: z.custom<number>((value) => typeof value === "number").nullish(), // often −∞
  trained_betas: only(null),
});
export type SchedulerConfig = z.input<typeof SchedulerConfig>;

/** How the visited timesteps lie in those of training. Source: Lin et al. 2024, table 2. */
export type TimestepSpacing = "leading" | "linspace" | "trailing";

/**
 * β, ᾱ and the sampling timesteps of a checkpoint.
 *
 * `scaled_linear`: β_t = linspace(√β₀, √β₉₉₉, 1000)²; ᾱ = cumprod(1 − β), float32. Source: diffusers; Ho et al. 2020, section 2.
 * `rescale_betas_zero_snr`: then Lin et al. 2024, algorithm 1.
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
        const alphaBar = betas.neg().add(1).cumprod(0);
        return this.config.rescale_betas_zero_snr ? withZeroSnr(alphaBar) : alphaBar;
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

  /**
   * Timesteps of `steps` sampling steps, largest first, whole numbers.
   *
   * leading: stride·(N−1−i) + offset, stride = ⌊1000/N⌋; linspace: evenly from 999 to 0; trailing: 1000·(N−i)/N − 1, both rounded.
   */
  timesteps(steps: number, spacing: TimestepSpacing = this.config.timestep_spacing ?? "leading"): number[] {
    const stride = this.stride(steps);
    const { num_train_timesteps: count, steps_offset: offset } = this.config;
    // Sums and products in numpy's order: a half may come out on either side, and which way it goes is part of the reference.
    const back = count - count / steps - count;
    const at: Record<TimestepSpacing, (i: number) => number> = {
      leading: (i) => stride * (steps - 1 - i) + offset,
      linspace: (i) => halfToEven(evenly(count - 1, steps, i)),
      trailing: (i) => halfToEven(count + i * back) - 1,
    };
    return Array.from({ length: steps }, (_, i) => at[spacing](i));
  }

  /** Distance between two timesteps of a sampling with `steps` steps. */
  stride(steps: number): number {
    const count = this.config.num_train_timesteps;
    if (!Number.isInteger(steps) || steps < 1 || steps > count)
      throw new RangeError(`steps must be an integer from 1 to ${count}`);
    return Math.floor(count / steps);
  }

  /** ᾱ at the end of a step from t, one stride further. Beyond the first timestep: 1 where the config has `set_alpha_to_one`, ᾱ_0 else. */
  alphaBarAfter(t: number, steps: number): number {
    const previous = t - this.stride(steps);
    return previous >= 0 ? this.alphaBar(previous) : this.config.set_alpha_to_one ? 1 : this.alphaBar(0);
  }

  /** Standard deviation of the noise over the clean part, σ_t = √((1−ᾱ_t)/ᾱ_t), in float32 as the references compute it. */
  sigma(t: number): number {
    const alphaBar = this.alphaBar(t);
    if (alphaBar === 0) return 4096; // the references put float16's least number, 2⁻²⁴, in its place
    return Math.fround(Math.sqrt(Math.fround(Math.fround(1 - alphaBar) / alphaBar)));
  }

  /** ε of a model's output, which is ε itself or v. xt: what the model was shown, of signal share alphaBar. */
  epsOf(xt: Tensor, output: Tensor, alphaBar: number): Tensor {
    return this.config.prediction_type === "v_prediction" ? epsFromV(xt, output, alphaBar) : output;
  }

  /** x̂0 of the same: straight from v, which also tells it where there is nothing but noise. */
  x0Of(xt: Tensor, output: Tensor, alphaBar: number): Tensor {
    return this.config.prediction_type === "v_prediction"
      ? x0FromV(xt, output, alphaBar)
      : predictX0(xt, output, alphaBar);
  }

  /** x_t = √ᾱ_t·x0 + √(1−ᾱ_t)·noise. x0, noise [b, ...]; timesteps int64 [b]. */
  addNoise(x0: Tensor, noise: Tensor, timesteps: Tensor): Tensor {
    return scope(() => {
      const alphaBar = this.alphasCumprod
        .to({ device: timesteps.device })
        .indexSelect(0, timesteps)
        .reshape([-1, ...x0.shape.slice(1).map(() => 1)]);
      return alphaBar.sqrt().mul(x0).add(alphaBar.neg().add(1).sqrt().mul(noise));
    });
  }
}

/** √ᾱ moved so that its last is 0 and scaled so that its first stays, then through β and back as the reference goes. ᾱ [n] → [n]. */
function withZeroSnr(alphaBar: Tensor): Tensor {
  return scope(() => {
    const root = alphaBar.sqrt();
    const [first, last] = [root.narrow(0, 0, 1), root.narrow(0, root.numel - 1, 1)];
    const moved = root
      .sub(last)
      .mul(first.div(first.sub(last)))
      .square();
    const count = moved.numel;
    const alphas = cat([
      moved.narrow(0, 0, 1),
      moved.narrow(0, 1, count - 1).div(moved.narrow(0, 0, count - 1)),
    ]);
    const betas = alphas.neg().add(1);
    return betas.neg().add(1).cumprod(0);
  });
}

/** The i-th of n numbers from `last` down to 0, as numpy's `linspace` has them; 0 where there is one only. */
export function evenly(last: number, n: number, i: number): number {
  if (n === 1) return 0;
  return i === 0 ? last : (last / (n - 1)) * (n - 1 - i);
}

/** Rounds halves to the even number, as numpy does. */
function halfToEven(x: number): number {
  const below = Math.floor(x);
  return x - below === 0.5 ? below + (below % 2) : Math.round(x);
}
