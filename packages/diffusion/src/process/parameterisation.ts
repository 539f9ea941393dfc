// Parameterisations of x_t = √ᾱ·x_0 + √(1−ᾱ)·ε. Tensors [n, c, h, w]; ᾱ: one for all rows, or one a row.
import { scope, type Tensor } from "@spo/torch";
import { factor, type PerRow, perRow, plus } from "./per-row.js";

/** What a model predicts: ε, v = √ᾱ·ε − √(1−ᾱ)·x_0, or x_0 itself, as a scheduler_config.json calls them. */
export type PredictionType = "epsilon" | "v_prediction" | "sample";

/** √ᾱ. */
const signal = (alphaBar: PerRow): PerRow => perRow([alphaBar], Math.sqrt);

/** √(1−ᾱ). */
const spread = (alphaBar: PerRow): PerRow => perRow([alphaBar], (a) => Math.sqrt(1 - a));

const negative = (value: PerRow): PerRow => perRow([value], (each) => -each);

/** x̂0 = (x_t − √(1−ᾱ)·ε)/√ᾱ. */
export function predictX0(xt: Tensor, eps: Tensor, alphaBar: PerRow): Tensor {
  return scope(() => plus(xt, eps, negative(spread(alphaBar))).div(factor(signal(alphaBar), xt)));
}

/** ε = (x_t − √ᾱ·x̂0)/√(1−ᾱ). */
export function epsFromX0(xt: Tensor, x0: Tensor, alphaBar: PerRow): Tensor {
  return scope(() => plus(xt, x0, negative(signal(alphaBar))).div(factor(spread(alphaBar), xt)));
}

/** ε from a v-prediction: √ᾱ·v + √(1−ᾱ)·x_t. Source: Salimans & Ho 2022, appendix D. */
export function epsFromV(xt: Tensor, v: Tensor, alphaBar: PerRow): Tensor {
  return scope(() => plus(v.mul(factor(signal(alphaBar), v)), xt, spread(alphaBar)));
}

/** x̂0 from a v-prediction: √ᾱ·x_t − √(1−ᾱ)·v. Source: Salimans & Ho 2022, appendix D. */
export function x0FromV(xt: Tensor, v: Tensor, alphaBar: PerRow): Tensor {
  return scope(() => plus(xt.mul(factor(signal(alphaBar), xt)), v, negative(spread(alphaBar))));
}

/** ε of a model's output. */
export function epsOf(xt: Tensor, output: Tensor, alphaBar: PerRow, prediction: PredictionType): Tensor {
  switch (prediction) {
    case "epsilon":
      return output;
    case "v_prediction":
      return epsFromV(xt, output, alphaBar);
    case "sample":
      return epsFromX0(xt, output, alphaBar);
  }
}

/** x̂0 of a model's output: directly from v, which also gives it where x_t is noise alone. */
export function x0Of(xt: Tensor, output: Tensor, alphaBar: PerRow, prediction: PredictionType): Tensor {
  switch (prediction) {
    case "epsilon":
      return predictX0(xt, output, alphaBar);
    case "v_prediction":
      return x0FromV(xt, output, alphaBar);
    case "sample":
      return output;
  }
}

/** The output that the model should have at x_t of these x_0 and ε. */
export function targetOf(x0: Tensor, eps: Tensor, alphaBar: PerRow, prediction: PredictionType): Tensor {
  switch (prediction) {
    case "epsilon":
      return eps;
    case "v_prediction":
      return scope(() => plus(eps.mul(factor(signal(alphaBar), eps)), x0, negative(spread(alphaBar))));
    case "sample":
      return x0;
  }
}
