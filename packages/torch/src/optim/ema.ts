import { checkFunction } from "../arguments.js";
import { noGrad } from "../modes.js";
import { _foreachLerp_ } from "../ops.gen.js";
import { keep } from "../scope.js";
import type { Tensor } from "../tensor.js";
import { checkParameters } from "./optimizer.js";

/** Decay of an average at a step, 0 for the first. */
export type DecayAt = (step: number) => number;

/** A constant decay, except for early steps, which average over fewer values: at most (1 + step)/(10 + step). */
export const constantDecay =
  (decay: number): DecayAt =>
  (step) =>
    Math.min(decay, (1 + step) / (10 + step));

/** The greatest `width` of `powerDecay`: all steps count alike. */
export const WIDEST = 1 / Math.sqrt(12);

/**
 * The decay by which an average at step n holds the weights of step i in proportion to (i/n)^γ. So whenever a training ends, the average is
 * over the same part of it.
 *
 * width: standard deviation of the averaged steps, as a part of all so far, in (0, WIDEST]: √(γ + 1)/((γ + 2)√(γ + 3)). The weights before
 * the first step do not count. Throws a RangeError for another width. Source: Karras et al. 2024, "Analyzing and Improving the
 * Training Dynamics of Diffusion Models", 3.1.
 */
export function powerDecay(width: number): DecayAt {
  if (!(width > 0 && width <= WIDEST)) throw new RangeError(`width is ${width}, must be in (0, ${WIDEST}]`);
  const widthOf = (power: number): number => Math.sqrt(power + 1) / ((power + 2) * Math.sqrt(power + 3));
  let [low, high] = [0, 2 / width]; // the width falls as the power grows, and is below 1/power
  for (let i = 0; i < 60; i++) {
    const power = (low + high) / 2;
    if (widthOf(power) > width) low = power;
    else high = power;
  }
  return (step) => (1 - 1 / (step + 1)) ** (low + 1);
}

/** Moving average of parameters: average ← decay·average + (1 − decay)·parameter. */
export class Ema {
  readonly #parameters: readonly Tensor[];
  readonly #averages: Tensor[];
  readonly #decayAt: DecayAt;

  constructor(parameters: readonly Tensor[], decayAt: DecayAt) {
    checkParameters("Ema", parameters);
    checkFunction("Ema", "decayAt", decayAt);
    this.#parameters = parameters;
    this.#averages = parameters.map((p) => keep(noGrad(() => p.detach().clone())));
    this.#decayAt = decayAt;
  }

  /** After an optimizer step, 0 for the first. */
  update(step: number): void {
    noGrad(() => _foreachLerp_(this.#averages, this.#parameters, 1 - this.#decayAt(step)));
  }

  /** Exchanges parameters and averages; a second call exchanges them back. */
  swap(): void {
    noGrad(() => {
      for (const [i, parameter] of this.#parameters.entries()) {
        const average = this.#averages[i] as Tensor;
        using before = parameter.detach().clone();
        parameter.copy_(average);
        average.copy_(before);
      }
    });
  }

  /** The averages by `ema.N`. The tensors are the live ones. */
  state(): Map<string, Tensor> {
    return new Map(this.#averages.map((average, i) => [`ema.${i}`, average]));
  }

  dispose(): void {
    for (const average of this.#averages) average.dispose();
  }
}
