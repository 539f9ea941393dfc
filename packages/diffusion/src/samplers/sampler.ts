import type { Tensor } from "@spo/torch";

/** Where a sampling is. */
export interface SamplerState {
  /** [b, c, h, w] */
  x: Tensor;
  /** What a multistep method remembers of earlier calls, newest first; each [b, c, h, w]. */
  history: readonly Tensor[];
}

/**
 * A way from noise to latents: at which timesteps the model is asked, what it is shown, and what its answer does.
 *
 * It holds numbers only; whatever changes is in the state, so that one sampler serves many samplings.
 */
export interface Sampler {
  /** One a call of the model, in order; between those of training where sigmas are. */
  readonly timesteps: readonly number[];
  /** Standard deviation of the first x. */
  readonly initialScale: number;
  /** Share of the clean signal ᾱ in what the model is shown at call i: an output v is turned into ε with it. */
  alphaBar(i: number): number;
  /** What the model is shown at call i. */
  input(x: Tensor, i: number): Tensor;
  /**
   * The state after call i. output: the model's, guided, ε or v as the schedule says. noise: draws a standard normal tensor like x; called
   * once, and only where the step has spread.
   */
  step(state: SamplerState, output: Tensor, i: number, noise: () => Tensor): SamplerState;
}
