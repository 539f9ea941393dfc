import { cat, keep, linspace, scope, type Tensor, tensor, UserError } from "@spo/torch";
import { z } from "zod";
import { checkConfig, count, only } from "../config.js";
import { epsFromV, epsFromX0, predictX0, x0FromV } from "./ddim.js";
import { LEVEL_FIELDS, SCHEDULES, type ScheduleName } from "./sampler-names.js";
import type { SamplerName } from "./scheduler-classes.js";

/** Timesteps of training. Published models have 1,000, and a few 4,000. */
const MOST_TIMESTEPS = 100_000;

/**
 * The part of a scheduler_config.json that says how images are noised and sampled.
 *
 * A sampler reads the fields that diffusers' class of its name has, and passes over the others, as diffusers does when one class is made of
 * another's config. Absent values are those of Stable Diffusion.
 */
export const SchedulerConfig = z
  .looseObject({
    _class_name: z.string().optional(),
    num_train_timesteps: z.int().min(2).max(MOST_TIMESTEPS).default(1000),
    beta_start: z.number().positive().lt(1).default(0.00085),
    beta_end: z.number().positive().lt(1).default(0.012),
    beta_schedule: z.enum(["scaled_linear", "linear", "squaredcos_cap_v2"]).default("scaled_linear"),
    /** β of each timestep, in place of a `beta_schedule`. */
    trained_betas: z.array(z.number().positive().lt(1)).nullish(),
    /** Whether training went up to noise alone: ᾱ is shifted and scaled so that its last is 0. */
    rescale_betas_zero_snr: z.boolean().nullish(),
    prediction_type: z.enum(["epsilon", "v_prediction", "sample"]).default("epsilon"),
    /** Absent: "leading" for DDIM and PNDM, "linspace" for the samplers over sigmas, as diffusers has it. */
    timestep_spacing: z.enum(["leading", "linspace", "trailing"]).optional(),
    steps_offset: z.int().min(0).max(MOST_TIMESTEPS).default(1),
    set_alpha_to_one: z.boolean().default(false),
    // Bounds of x̂0.
    clip_sample: z.boolean().nullish(),
    clip_sample_range: z.number().positive().max(1e6).nullish(),
    thresholding: z.boolean().nullish(),
    dynamic_thresholding_ratio: z.number().min(0).max(1).nullish(),
    sample_max_value: z.number().min(1).max(1e6).nullish(),
    // Noise levels of the samplers over sigmas.
    use_karras_sigmas: z.boolean().nullish(),
    use_exponential_sigmas: z.boolean().nullish(),
    use_beta_sigmas: z.boolean().nullish(),
    use_lu_lambdas: z.boolean().nullish(),
    use_flow_sigmas: only(false),
    sigma_min: z.number().positive().max(1e6).nullish(),
    sigma_max: z.number().positive().max(1e6).nullish(),
    final_sigmas_type: z.enum(["zero", "sigma_min"]).nullish(),
    // Euler's.
    interpolation_type: z.enum(["linear", "log_linear"]).nullish(),
    timestep_type: z.enum(["discrete", "continuous"]).nullish(),
    // The multistep solvers'.
    solver_order: count(100).nullish(),
    solver_type: z.enum(["midpoint", "heun", "logrho", "bh1", "bh2"]).nullish(),
    algorithm_type: z
      .enum(["dpmsolver++", "sde-dpmsolver++", "dpmsolver", "sde-dpmsolver", "deis"])
      .nullish(),
    variance_type: z.string().nullish(),
    lower_order_final: z.boolean().nullish(),
    euler_at_final: z.boolean().nullish(),
    /** DPM-Solver starts no lower than here: λ = ln(√ᾱ/√(1−ᾱ)). */
    lambda_min_clipped: z.custom<number>((value) => typeof value === "number").nullish(), // often −∞
    // PNDM's.
    skip_prk_steps: z.boolean().nullish(),
    // LCM's.
    original_inference_steps: count(MOST_TIMESTEPS).nullish(),
    timestep_scaling: z.number().positive().max(1e6).nullish(),
  })
  .superRefine(({ trained_betas: betas, num_train_timesteps: timesteps, steps_offset: offset }, context) => {
    const fault = (path: string, message: string): void =>
      context.addIssue({ code: "custom", path: [path], message });
    if (betas && betas.length !== timesteps)
      fault("trained_betas", `has ${betas.length} values, num_train_timesteps is ${timesteps}`);
    if (offset >= timesteps)
      fault("steps_offset", `is ${offset}, and there are ${timesteps} timesteps, counted from 0`);
  });
export type SchedulerConfig = z.input<typeof SchedulerConfig>;

/** How the visited timesteps lie in those of training. Source: Lin et al. 2024, table 2. */
export type TimestepSpacing = "leading" | "linspace" | "trailing";

/**
 * β, ᾱ and the sampling timesteps of a checkpoint.
 *
 * `scaled_linear`: β_t = linspace(√β₀, √β₉₉₉, 1000)²; ᾱ = cumprod(1 − β), float32. Source: diffusers; Ho et al. 2020, section 2.
 * `squaredcos_cap_v2`: Nichol & Dhariwal 2021, eq. 17.
 * `rescale_betas_zero_snr`: then Lin et al. 2024, algorithm 1.
 */
export class NoiseSchedule {
  readonly config: z.output<typeof SchedulerConfig>;
  /** ᾱ, float32 [num_train_timesteps]. */
  readonly alphasCumprod: Tensor;
  readonly #alphaBar: readonly number[];

  constructor(config: SchedulerConfig = {}) {
    this.config = checkConfig(SchedulerConfig, config, "scheduler_config.json");
    this.alphasCumprod = keep(
      scope(() => {
        const alphaBar = betasOf(this.config).neg().add(1).cumprod(0);
        return this.config.rescale_betas_zero_snr ? withZeroSnr(alphaBar) : alphaBar;
      }),
    );
    this.#alphaBar = this.alphasCumprod.toNumbers();
    const last = this.#alphaBar.findIndex(
      (value, t) => !(value > 0) && !(this.config.rescale_betas_zero_snr && t === this.#alphaBar.length - 1),
    );
    if (last >= 0)
      throw new UserError(
        `scheduler_config.json: its betas leave nothing of an image at timestep ${last}: the share of signal is ${this.#alphaBar[last]}.`,
        {
          code: "CONFIG",
          hint: "Smaller beta_start and beta_end, or fewer num_train_timesteps, leave some.",
        },
      );
  }

  /**
   * The same noise as a sampler takes it: a checkpoint's config read as the sampler's class reads it (`CheckpointSchedule`), one that was given
   * by hand as it is. spacing: how the visited levels lie, in place of the config's own way.
   */
  for(_sampler: SamplerName, spacing?: ScheduleName): NoiseSchedule {
    return spacing === undefined ? this : new NoiseSchedule(spaced(this.config, spacing));
  }

  /** ᾱ_t, the float32 value. t in [0, num_train_timesteps). */
  alphaBar(t: number): number {
    const value = this.#alphaBar[t];
    if (value === undefined)
      throw new UserError(
        `Timestep ${t} is not one of the ${this.#alphaBar.length} that the model was trained at, from 0; scheduler_config.json has steps_offset ${this.config.steps_offset}.`,
        { code: "CONFIG", hint: "Take fewer steps, or a smaller steps_offset." },
      );
    return value;
  }

  /** Timesteps of `steps` sampling steps, largest first, whole numbers. */
  timesteps(steps: number, spacing: TimestepSpacing = this.config.timestep_spacing ?? "leading"): number[] {
    this.stride(steps); // checks the number
    const { num_train_timesteps: count, steps_offset: offset } = this.config;
    return spacedTimesteps(steps, spacing, { count, offset });
  }

  /** Distance between two timesteps of a sampling with `steps` steps. */
  stride(steps: number): number {
    const count = this.config.num_train_timesteps;
    if (!Number.isInteger(steps) || steps < 1 || steps > count)
      throw new UserError(
        `${steps} steps cannot be taken: steps must be a whole number from 1 to the num_train_timesteps of scheduler_config.json, ${count}.`,
        { code: "CONFIG" },
      );
    return Math.floor(count / steps);
  }

  /** ᾱ at the timestep that a step ends at. Below the first one: 1 where the config has `set_alpha_to_one`, ᾱ_0 else. */
  alphaBarAtEnd(t: number): number {
    return t >= 0 ? this.alphaBar(t) : this.config.set_alpha_to_one ? 1 : this.alphaBar(0);
  }

  /** Standard deviation of the noise over the clean part, σ_t = √((1−ᾱ_t)/ᾱ_t), in float32 as the references compute it. */
  sigma(t: number): number {
    const alphaBar = this.alphaBar(t);
    if (alphaBar === 0) return 4096; // the references put float16's least number, 2⁻²⁴, in its place
    return Math.fround(Math.sqrt(Math.fround(Math.fround(1 - alphaBar) / alphaBar)));
  }

  /** ε of a model's output, which is ε itself, v or x̂0. xt: what the model was shown, of signal share alphaBar. */
  epsOf(xt: Tensor, output: Tensor, alphaBar: number): Tensor {
    switch (this.config.prediction_type) {
      case "epsilon":
        return output;
      case "v_prediction":
        return epsFromV(xt, output, alphaBar);
      case "sample":
        return epsFromX0(xt, output, alphaBar);
    }
  }

  /** x̂0 of the same: straight from v, which also tells it where there is nothing but noise. */
  x0Of(xt: Tensor, output: Tensor, alphaBar: number): Tensor {
    switch (this.config.prediction_type) {
      case "epsilon":
        return predictX0(xt, output, alphaBar);
      case "v_prediction":
        return x0FromV(xt, output, alphaBar);
      case "sample":
        return output;
    }
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

/** A config with the visited levels where a schedule of that name has them. */
export const spaced = (config: SchedulerConfig, spacing: ScheduleName): SchedulerConfig => ({
  ...config,
  ...LEVEL_FIELDS,
  ...SCHEDULES[spacing],
});

/**
 * N whole timesteps out of [0, count), largest first; `last` of them are used, counted from 0.
 *
 * leading: stride·(N−1−i) + offset, stride = ⌊last/N⌋; linspace: evenly from last − 1 to 0; trailing: last − i·count/N − 1, while above −1;
 * the latter two rounded. Source: Lin et al. 2024, table 2; diffusers.
 */
export function spacedTimesteps(
  steps: number,
  spacing: TimestepSpacing,
  { count, last = count, offset }: { count: number; last?: number; offset: number },
): number[] {
  // Sums and products in numpy's order: a half may come out on either side, and which way it goes is part of the reference.
  const back = last - count / steps - last;
  const at: Record<TimestepSpacing, (i: number) => number> = {
    leading: (i) => Math.floor(last / steps) * (steps - 1 - i) + offset,
    linspace: (i) => halfToEven(evenly(last - 1, steps, i)),
    trailing: (i) => halfToEven(last + i * back) - 1,
  };
  const length = spacing === "trailing" ? Math.ceil((last * steps) / count) : steps;
  return Array.from({ length }, (_, i) => at[spacing](i));
}

/** β of each timestep of training, float32 [num_train_timesteps]. */
function betasOf(config: z.output<typeof SchedulerConfig>): Tensor {
  const { beta_start: start, beta_end: end, num_train_timesteps: count, trained_betas: trained } = config;
  if (trained) return tensor(trained);
  switch (config.beta_schedule) {
    case "linear":
      return linspace(start, end, count, { dtype: "float32" });
    case "scaled_linear":
      return linspace(Math.sqrt(start), Math.sqrt(end), count, { dtype: "float32" }).square();
    case "squaredcos_cap_v2": {
      const alphaBar = (t: number): number => Math.cos(((t / count + 0.008) / 1.008) * (Math.PI / 2)) ** 2;
      return tensor(
        Array.from({ length: count }, (_, t) => Math.min(1 - alphaBar(t + 1) / alphaBar(t), 0.999)),
      );
    }
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
