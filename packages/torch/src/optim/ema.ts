import { noGrad } from "../modes.js";
import { _foreachLerp_ } from "../ops.gen.js";
import { keep } from "../scope.js";
import type { Tensor } from "../tensor.js";

/** Exponential moving average of parameters: average ← decay·average + (1 − decay)·parameter. */
export class Ema {
  readonly #parameters: readonly Tensor[];
  readonly #averages: Tensor[];
  readonly #decay: number;

  constructor(parameters: readonly Tensor[], decay: number) {
    this.#parameters = parameters;
    this.#averages = parameters.map((p) => keep(noGrad(() => p.detach().clone())));
    this.#decay = decay;
  }

  /** After an optimizer step. Early steps average over fewer values: the decay is at most (1 + step)/(10 + step). */
  update(step: number): void {
    const decay = Math.min(this.#decay, (1 + step) / (10 + step));
    noGrad(() => _foreachLerp_(this.#averages, this.#parameters, 1 - decay));
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
