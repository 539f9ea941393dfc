import type { Generator, Tensor } from "@spo/torch";
import type { Gaussian, GaussianStep } from "./gaussian.js";
import type { PredictionType } from "./parameterisation.js";
import type { PerRow } from "./per-row.js";

/** The timesteps of a step: for all rows of a batch, or row by row. */
export interface StepTimes {
  /** The timestep of x_t. */
  t: PerRow;
  /** The timestep that the step ends at, below t. */
  previous: PerRow;
  /** How much noise the step adds, 0 none; the process says which. */
  eta: number;
}

/**
 * A noise process: how images become noise, and by which steps a model's outputs lead back.
 *
 * Timesteps are what the model is told, real numbers, larger with more noise. Tensors are [n, c, h, w] in float32; outputs are the model's
 * own, guided, of whatever kind it predicts. A timestep is one for all n rows, or a list of n.
 */
export interface NoiseProcess {
  /** What the model puts out. */
  readonly prediction: PredictionType;
  /** Timesteps lie in [0, trainTimesteps]. */
  readonly trainTimesteps: number;
  /** Timesteps of `steps` sampling steps, largest first. Throws a UserError (`CONFIG`) for an impossible number of steps. */
  timesteps(steps: number): number[];
  /** The timestep at which a step from t ends, where sampling has `steps` steps. */
  previousTimestep(t: number, steps: number): number;
  /** n timesteps of training, drawn independently, all below `below`. Default: as far as training goes. */
  drawTimesteps(n: number, generator: Generator, below?: number): number[];
  /** x_t of clean latents and standard normal noise. */
  addNoise(x0: Tensor, noise: Tensor, t: PerRow): Tensor;
  /** The output that the model should have at that x_t, with which a training compares it. */
  target(x0: Tensor, noise: Tensor, t: PerRow): Tensor;
  /** x̂0 and ε that an output stands for; x̂0 is not bounded. */
  predict(xt: Tensor, output: Tensor, t: PerRow): { x0: Tensor; eps: Tensor };
  /** The Gaussian over the next x of a sampling step, and its x̂0, bounded where the checkpoint's config says so. */
  step(xt: Tensor, output: Tensor, times: StepTimes): GaussianStep;
  /** The same Gaussian for a density with a graph: without x̂0, in as few operations as possible. */
  density(xt: Tensor, output: Tensor, times: StepTimes): Gaussian;
  /** Its standard deviation, which does not depend on the output. */
  std(times: StepTimes): PerRow;
}
