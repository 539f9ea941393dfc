import {
  cat,
  type Generator,
  keep,
  linspace,
  randint,
  scope,
  type Tensor,
  tensor,
  UserError,
} from "@spo/torch";
import type { z } from "zod";
import { checkConfig } from "../config.js";
import { boundsX0, boundX0 } from "./bound-x0.js";
import { type DdimLevels, ddimGaussian, ddimStd, ddimStep } from "./ddim-step.js";
import type { Gaussian, GaussianStep } from "./gaussian.js";
import type { NoiseProcess, SamplingChoice, StepTimes } from "./noise-process.js";
import { epsOf, type PredictionType, targetOf, x0Of } from "./parameterisation.js";
import { factor, type PerRow, perRow, plus } from "./per-row.js";
import { spacedTimesteps, type TimestepSpacing } from "./timesteps.js";
import { VpConfig } from "./vp-config.js";

/**
 * The variance-preserving process of a checkpoint: x_t = √ᾱ_t·x_0 + √(1−ᾱ_t)·ε, back by the steps of DDIM.
 *
 * `scaled_linear`: β_t = linspace(√β₀, √β₉₉₉, 1000)²; ᾱ = cumprod(1 − β), float32. Source: diffusers; Ho et al. 2020, section 2.
 * `squaredcos_cap_v2`: Nichol & Dhariwal 2021, eq. 17.
 * `rescale_betas_zero_snr`: then Lin et al. 2024, algorithm 1.
 */
export class VpSchedule implements NoiseProcess {
  readonly config: z.output<typeof VpConfig>;
  readonly prediction: PredictionType;
  readonly trainTimesteps: number;
  /** ᾱ, float32 [num_train_timesteps]. */
  readonly alphasCumprod: Tensor;
  readonly #alphaBar: readonly number[];

  constructor(config: VpConfig = {}) {
    this.config = checkConfig(VpConfig, config, "scheduler_config.json");
    this.prediction = this.config.prediction_type;
    this.trainTimesteps = this.config.num_train_timesteps;
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

  /** Its steps are DDIM's, and latents of all sizes go by the same timesteps. */
  forSampling({ stepNoise }: SamplingChoice): VpSchedule {
    if (stepNoise === undefined || stepNoise === "ddim") return this;
    throw new UserError(`A model of this noise process has no step noise "${stepNoise}".`, {
      code: "CONFIG",
      hint: "There is ddim alone: leave the setting out.",
    });
  }

  /** Timesteps of `steps` sampling steps, largest first, whole numbers. */
  timesteps(steps: number, spacing: TimestepSpacing = this.config.timestep_spacing ?? "leading"): number[] {
    this.stride(steps); // checks the number
    return spacedTimesteps(steps, spacing, { count: this.trainTimesteps, offset: this.config.steps_offset });
  }

  /** Distance between two timesteps of a sampling with `steps` steps. */
  stride(steps: number): number {
    const count = this.trainTimesteps;
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
    if (alphaBar === 0) return 4096; // the references replace ᾱ = 0 by float16's least number, 2⁻²⁴
    return Math.fround(Math.sqrt(Math.fround(Math.fround(1 - alphaBar) / alphaBar)));
  }

  /**
   * A stride below t, but not below 0, which acts at t = 1 only: sampling goes on to what the config says (`alphaBarAtEnd`), where there
   * may be no spread. Source: algorithm 2.
   */
  previousTimestep(t: number, steps: number): number {
    return Math.max(t - this.stride(steps), 0);
  }

  drawTimesteps(n: number, generator: Generator, below = this.trainTimesteps): number[] {
    return scope(() => randint(0, below, [n], { generator }).toNumbers());
  }

  /** x_t = √ᾱ_t·x0 + √(1−ᾱ_t)·noise. */
  addNoise(x0: Tensor, noise: Tensor, t: PerRow): Tensor {
    return scope(() => {
      const alphaBar = factor(this.#alphaBarAt(t), x0);
      if (typeof alphaBar === "number")
        return plus(x0.mul(Math.sqrt(alphaBar)), noise, Math.sqrt(1 - alphaBar));
      // Roots of tensors, as diffusers takes them: libtorch rounds the last bit of some otherwise than JavaScript.
      return x0.mul(alphaBar.sqrt()).add(noise.mul(alphaBar.neg().add(1).sqrt()));
    });
  }

  /** ε, v or x_0, as the config's `prediction_type` says. */
  target(x0: Tensor, noise: Tensor, t: PerRow): Tensor {
    return targetOf(x0, noise, this.#alphaBarAt(t), this.prediction);
  }

  predict(xt: Tensor, output: Tensor, t: PerRow): { x0: Tensor; eps: Tensor } {
    const alphaBar = this.#alphaBarAt(t);
    return { x0: this.x0Of(xt, output, alphaBar), eps: this.epsOf(xt, output, alphaBar) };
  }

  /** x̂0 of a model's output at x_t of a share of signal, which may lie between those of the timesteps. */
  x0Of(xt: Tensor, output: Tensor, alphaBar: PerRow): Tensor {
    return x0Of(xt, output, alphaBar, this.prediction);
  }

  /** ε of the same. */
  epsOf(xt: Tensor, output: Tensor, alphaBar: PerRow): Tensor {
    return epsOf(xt, output, alphaBar, this.prediction);
  }

  /** Of DDIM; x̂0 bounded by `thresholding` or `clip_sample`, and ε as it was predicted. Source: diffusers DDIMScheduler. */
  step(xt: Tensor, output: Tensor, times: StepTimes): GaussianStep {
    return scope(() => {
      const { x0, eps } = this.predict(xt, output, times.t);
      return ddimStep(xt, eps, { ...this.#levels(times), x0: boundX0(x0, this.config) });
    });
  }

  density(xt: Tensor, output: Tensor, times: StepTimes): Gaussian {
    if (this.prediction === "epsilon" && !boundsX0(this.config))
      return ddimGaussian(xt, output, this.#levels(times));
    return scope(() => {
      const { mean, std } = this.step(xt, output, times);
      return { mean, std };
    });
  }

  std(times: StepTimes): PerRow {
    const { alphaBar, alphaBarPrev, eta } = this.#levels(times);
    return perRow([alphaBar, alphaBarPrev], (a, p) => ddimStd(a, p, eta));
  }

  outputGain(times: StepTimes): PerRow {
    const { alphaBar, alphaBarPrev } = this.#levels(times);
    return perRow([alphaBar, alphaBarPrev, this.std(times)], (a, p, std) => {
      const [ofX0, ofEps] = [Math.sqrt(p), Math.sqrt(Math.max(0, 1 - p - std ** 2))];
      const [signal, spread] = [Math.sqrt(a), Math.sqrt(1 - a)];
      // How x̂0 and ε move with what is predicted.
      switch (this.prediction) {
        case "epsilon":
          return ofEps - (ofX0 * spread) / signal;
        case "v_prediction":
          return ofEps * signal - ofX0 * spread;
        case "sample":
          return ofX0 - (ofEps * signal) / spread;
      }
    });
  }

  #alphaBarAt(t: PerRow): PerRow {
    return perRow([t], (each) => this.alphaBar(each));
  }

  #levels({ t, previous, eta }: StepTimes): DdimLevels {
    return {
      alphaBar: this.#alphaBarAt(t),
      alphaBarPrev: perRow([previous], (each) => this.alphaBarAtEnd(each)),
      eta,
    };
  }
}

/** β of each timestep of training, float32 [num_train_timesteps]. */
function betasOf(config: z.output<typeof VpConfig>): Tensor {
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
