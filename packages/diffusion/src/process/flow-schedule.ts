import { type Generator, randn, scope, type Tensor, UserError } from "@spo/torch";
import { z } from "zod";
import { checkConfig, only } from "../config.js";
import { type FlowNoise, flowStep } from "./flow-step.js";
import type { Gaussian, GaussianStep } from "./gaussian.js";
import type { NoiseProcess, SamplingChoice, StepTimes } from "./noise-process.js";
import { factor, type PerRow, perRow, plus } from "./per-row.js";
import { betaSigmas, exponentialSigmas, karrasSigmas } from "./spaced-sigmas.js";
import { MOST_TIMESTEPS } from "./vp-config.js";

const tokens = z
  .int()
  .min(1)
  .max(2 ** 24);

/** The scheduler_config.json of FlowMatchEulerDiscreteScheduler. Source: diffusers 0.42. */
export const FlowConfig = z
  .looseObject({
    _class_name: z.string().optional(),
    num_train_timesteps: z.int().min(2).max(MOST_TIMESTEPS).default(1000),
    shift: z.number().positive().max(1e6).default(1),
    /** The shift grows with the image, in place of `shift`. */
    use_dynamic_shifting: z.boolean().default(false),
    base_shift: z.number().min(-100).max(100).default(0.5),
    max_shift: z.number().min(-100).max(100).default(1.15),
    base_image_seq_len: tokens.default(256),
    max_image_seq_len: tokens.default(4096),
    time_shift_type: z.enum(["exponential", "linear"]).default("exponential"),
    /** σ of the last call, to which the levels are stretched. */
    shift_terminal: z.number().min(0).lt(1).nullish(),
    use_karras_sigmas: z.boolean().nullish(),
    use_exponential_sigmas: z.boolean().nullish(),
    use_beta_sigmas: z.boolean().nullish(),
    invert_sigmas: only(false),
    stochastic_sampling: only(false),
  })
  .superRefine((config, context) => {
    const asked = (["karras", "exponential", "beta"] as const).filter((name) => config[`use_${name}_sigmas`]);
    for (const name of asked.slice(1))
      context.addIssue({
        code: "custom",
        path: [`use_${name}_sigmas`],
        message: `cannot be with use_${asked[0]}_sigmas`,
      });
    if (config.base_image_seq_len === config.max_image_seq_len)
      context.addIssue({ code: "custom", path: ["max_image_seq_len"], message: "is base_image_seq_len" });
  });
export type FlowConfig = z.input<typeof FlowConfig>;

/** What a family's pipeline adds to the config. */
export interface FlowGrid {
  /**
   * Where the levels begin: evenly over those of training, which are shifted already and are shifted again (SD3), or over 1, …, 1/N
   * (FLUX).
   */
  spacing: "training" | "whole";
  /** Side of the squares of latent pixels that are a token of the transformer. */
  patch: number;
  /** Height and width of the latents. */
  latentSize: readonly [height: number, width: number];
}

const NOISES: readonly FlowNoise[] = ["flow-sde", "constant-sde", "cps"];

/**
 * Flow matching: x_σ = (1−σ)·x_0 + σ·ε, of which the model predicts the velocity v = ε − x_0. Timesteps are T·σ, real numbers, where T is
 * `num_train_timesteps`.
 *
 * Source: Lipman et al. 2023; Liu et al. 2023; Esser et al. 2024, section 3; diffusers FlowMatchEulerDiscreteScheduler, whose levels
 * these are.
 */
export class FlowSchedule implements NoiseProcess {
  readonly config: z.output<typeof FlowConfig>;
  readonly prediction = "flow_prediction";
  readonly trainTimesteps: number;
  readonly #grid: FlowGrid;
  readonly #noise: FlowNoise;
  readonly #sigmas = new Map<number, readonly number[]>();

  /** Throws a UserError (`CONFIG`) for a value that is not supported. */
  constructor(config: FlowConfig, grid: FlowGrid, noise: FlowNoise = "flow-sde") {
    this.config = checkConfig(FlowConfig, config, "scheduler_config.json");
    this.trainTimesteps = this.config.num_train_timesteps;
    this.#grid = grid;
    this.#noise = noise;
  }

  forSampling({ latentSize = this.#grid.latentSize, stepNoise = this.#noise }: SamplingChoice): FlowSchedule {
    if (!(NOISES as readonly string[]).includes(stepNoise))
      throw new UserError(`A flow model has no step noise "${stepNoise}".`, {
        code: "CONFIG",
        hint: `There are ${NOISES.join(", ")}.`,
      });
    return new FlowSchedule(this.config, { ...this.#grid, latentSize }, stepNoise as FlowNoise);
  }

  /** Levels of a sampling with N steps, largest first, and 0 after the last: N + 1 float32 values. Throws a UserError (`CONFIG`). */
  sigmas(steps: number): readonly number[] {
    const known = this.#sigmas.get(steps);
    if (known) return known;
    const most = this.trainTimesteps;
    if (!Number.isInteger(steps) || steps < 1 || steps > most)
      throw new UserError(
        `${steps} steps cannot be taken: steps must be a whole number from 1 to the num_train_timesteps of scheduler_config.json, ${most}.`,
        { code: "CONFIG" },
      );
    const low = this.#grid.spacing === "training" ? this.trainingSigma(1) : 1 / steps;
    const even = Array.from({ length: steps }, (_, i) => (i === 0 ? 1 : 1 + (i * (low - 1)) / (steps - 1)));
    const sigmas = [...this.#spaced(this.#stretched(even.map((sigma) => this.#shifted(sigma)))), 0].map(
      Math.fround,
    );
    this.#sigmas.set(steps, sigmas);
    return sigmas;
  }

  /** σ of the i-th level of training, i in [1, T], smallest first. A shift by the image's size is no matter of training. */
  trainingSigma(i: number): number {
    const sigma = i / this.trainTimesteps;
    return this.config.use_dynamic_shifting ? sigma : staticShift(sigma, this.config.shift);
  }

  timesteps(steps: number): number[] {
    return this.sigmas(steps)
      .slice(0, -1)
      .map((sigma) => sigma * this.trainTimesteps);
  }

  /** The largest visited timestep below t; 0 after the last. */
  previousTimestep(t: number, steps: number): number {
    return this.timesteps(steps).find((each) => each < t - GAP * this.trainTimesteps) ?? 0;
  }

  /**
   * Levels of training at the place u = sigmoid(N(0, 1)) of their list, from σ = 1 down; below a bound, of that part of the list.
   *
   * Source: Esser et al. 2024, section 3.1, logit-normal; the order of the list as in diffusers' trainers.
   */
  drawTimesteps(n: number, generator: Generator, below = Number.POSITIVE_INFINITY): number[] {
    const count = this.trainTimesteps;
    const timestep = (i: number): number => this.trainingSigma(i) * count;
    let most = count;
    while (most > 1 && timestep(most) >= below) most--;
    const places = scope(() => randn([n], { generator }).sigmoid().toNumbers());
    return places.map((u) => timestep(most - Math.min(most - 1, Math.floor(u * most))));
  }

  addNoise(x0: Tensor, noise: Tensor, t: PerRow): Tensor {
    return scope(() => {
      const sigma = this.#sigmaAt(t);
      const signal = factor(
        perRow([sigma], (s) => 1 - s),
        x0,
      );
      return plus(x0.mul(signal), noise, sigma);
    });
  }

  /** The velocity. */
  target(x0: Tensor, noise: Tensor): Tensor {
    return noise.sub(x0);
  }

  predict(xt: Tensor, output: Tensor, t: PerRow): { x0: Tensor; eps: Tensor } {
    const sigma = this.#sigmaAt(t);
    const negative = perRow([sigma], (s) => -s);
    const rest = perRow([sigma], (s) => 1 - s);
    return { x0: plus(xt, output, negative), eps: plus(xt, output, rest) };
  }

  step(xt: Tensor, output: Tensor, times: StepTimes): GaussianStep {
    const { mean, std } = this.density(xt, output, times);
    return {
      mean,
      std,
      x0: plus(
        xt,
        output,
        perRow([this.#sigmaAt(times.t)], (s) => -s),
      ),
    };
  }

  density(xt: Tensor, output: Tensor, times: StepTimes): Gaussian {
    return scope(() => ({
      mean: plus(xt.mul(factor(this.#of(times, "ofX"), xt)), output, this.outputGain(times)),
      std: this.std(times),
    }));
  }

  std(times: StepTimes): PerRow {
    return this.#of(times, "std");
  }

  outputGain(times: StepTimes): PerRow {
    return this.#of(times, "ofV");
  }

  #of({ t, previous, eta }: StepTimes, which: "ofX" | "ofV" | "std"): PerRow {
    const noise = this.#noise;
    return perRow(
      [this.#sigmaAt(t), this.#sigmaAt(previous)],
      (sigma, next) => flowStep({ sigma, next, eta, noise })[which],
    );
  }

  #sigmaAt(t: PerRow): PerRow {
    return perRow([t], (each) => each / this.trainTimesteps);
  }

  /** By the config's shift, or one that grows linearly with the image's tokens. Source: diffusers FluxPipeline, `calculate_shift`. */
  #shifted(sigma: number): number {
    const { shift, use_dynamic_shifting: dynamic, time_shift_type: type, ...config } = this.config;
    if (!dynamic) return staticShift(sigma, shift);
    const { base_shift: base, max_shift: most, base_image_seq_len: from, max_image_seq_len: to } = config;
    const { latentSize, patch } = this.#grid;
    const tokens = Math.floor(latentSize[0] / patch) * Math.floor(latentSize[1] / patch);
    const mu = base + ((tokens - from) * (most - base)) / (to - from);
    return staticShift(sigma, type === "linear" ? mu : Math.exp(mu));
  }

  /** Stretched so that the last is `shift_terminal`. Source: diffusers `stretch_shift_to_terminal`. */
  #stretched(sigmas: number[]): number[] {
    const { shift_terminal: terminal } = this.config;
    if (!terminal) return sigmas;
    const scale = (1 - (sigmas.at(-1) as number)) / (1 - terminal);
    return sigmas.map((sigma) => 1 - (1 - sigma) / scale);
  }

  /** Between the same ends, where the config spaces levels otherwise. */
  #spaced(sigmas: number[]): number[] {
    const { use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas } = this.config;
    const ends = { min: sigmas.at(-1) as number, max: sigmas[0] as number };
    if (use_karras_sigmas) return karrasSigmas(ends, sigmas.length);
    if (use_exponential_sigmas) return exponentialSigmas(ends, sigmas.length);
    return use_beta_sigmas ? betaSigmas(ends, sigmas.length) : sigmas;
  }
}

/** How much two levels of a sampling differ at least, as shares of noise: a timestep may have gone through float32. */
const GAP = 1e-6;

/** s·σ/(1 + (s−1)·σ). Source: Esser et al. 2024, eq. 23. */
const staticShift = (sigma: number, shift: number): number => (shift * sigma) / (1 + (shift - 1) * sigma);
