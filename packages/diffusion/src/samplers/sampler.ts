import { scope, type Tensor, UserError } from "@spo/torch";
import type { z } from "zod";
import { checkConfig } from "../config.js";
import { type GaussianStep, sampleGaussian } from "../process/gaussian.js";
import type { VpSchedule } from "../process/vp-schedule.js";

/** The state of a sampling. */
export interface SamplerState {
  /** [b, c, h, w] */
  x: Tensor;
  /** What a multistep method remembers of earlier calls, newest first; each [b, c, h, w]. */
  history: readonly Tensor[];
}

/**
 * A plan from noise to latents: the timesteps of the model's calls, its input, and the step that its output leads to.
 *
 * It holds numbers only. All that changes is in the state, so one sampler serves many samplings.
 */
export interface Sampler {
  /** One a call of the model, in order. Where there are sigmas they may lie between those of training. */
  readonly timesteps: readonly number[];
  /** Noise levels of the calls, and the one after the last, where it goes by σ. */
  readonly sigmas?: readonly number[];
  /** Standard deviation of the first x. */
  readonly initialScale: number;
  /** The model's input at call i. */
  input(x: Tensor, i: number): Tensor;
  /**
   * The state after call i. output: the model's, guided, ε, v or x̂0 as the schedule says. noise: draws a standard normal tensor like x;
   * called once, and only where the step has spread.
   */
  step(state: SamplerState, output: Tensor, i: number, noise: () => Tensor): SamplerState;
}

/** A sampler of one Gaussian a step, from the current x to the next, without history. */
export function gaussianSampler(
  timesteps: readonly number[],
  gaussian: (x: Tensor, output: Tensor, i: number) => GaussianStep,
): Sampler {
  return {
    timesteps,
    initialScale: 1,
    input: (x) => x,
    step: ({ x }, output, i, noise) =>
      scope(() => ({ x: drawn(gaussian(x, output, i), noise), history: [] })),
  };
}

/** A draw from a step's Gaussian; its mean, and nothing is drawn, where it has no spread. */
export const drawn = (step: GaussianStep, noise: () => Tensor): Tensor =>
  step.std === 0 ? step.mean : sampleGaussian(step, noise());

/** What a sampler reads of a scheduler_config.json beside the process. Throws a UserError (`CONFIG`) for a value that it cannot be. */
export const settingsOf = <S extends z.ZodType>(schema: S, { config }: VpSchedule): z.output<S> =>
  checkConfig(schema, config, "scheduler_config.json");

/** The error for a scheduler_config.json that a sampler cannot follow. `what`: how a sentence goes on that begins with the file's name. */
export const unsupported = (what: string, hint = "Choose another scheduler."): UserError =>
  new UserError(`scheduler_config.json ${what}`, { code: "CONFIG", hint });

/** Throws a UserError (`CONFIG`) where x̂0 would be divided out of a predicted ε at ᾱ = 0, among the visited timesteps. */
export function refuseNoiseAlone(schedule: VpSchedule, timesteps: readonly number[]): void {
  const alphaBars = timesteps.map((t) => schedule.alphaBar(t));
  if (schedule.config.prediction_type !== "epsilon" || !alphaBars.includes(0)) return;
  throw unsupported(
    'has rescale_betas_zero_snr and prediction_type "epsilon": from noise alone, a prediction of the noise tells nothing of the image.',
    'A model of zero terminal signal predicts v: set "prediction_type" to "v_prediction".',
  );
}
