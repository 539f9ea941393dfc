import { checkNumber, checkOptions } from "../arguments.js";
import { noGrad } from "../modes.js";
import { zeros } from "../ops.gen.js";
import { keep, scope } from "../scope.js";
import type { Tensor } from "../tensor.js";
import type { Optimizer } from "./optimizer.js";
import { checkParameters } from "./optimizer.js";

/** Means of squared gradients: of rows and columns, or of each element. */
interface Moments {
  row?: Tensor;
  column?: Tensor;
  whole?: Tensor;
  step: Tensor;
}

/** Settings of Adafactor, with transformers' defaults. */
export interface AdafactorOptions {
  lr: number;
  /** Decoupled: p ← p·(1 − lr·weightDecay). */
  weightDecay?: number;
  /** Of the second moment: β2 = 1 − step^decayRate. */
  decayRate?: number;
  /** Added to the squared gradient. */
  eps?: number;
  /** Largest root mean square of an update, before the learning rate. */
  clipThreshold?: number;
}

/**
 * Adafactor with a given learning rate: no relative step, no scaling by the parameter, no first moment.
 *
 * A parameter of two or more axes keeps the mean squares of its rows and columns (the last two axes) in place of one number an element:
 * V ≈ R·Cᵀ / mean(R).
 * Step s: V ← β2·V + (1−β2)(g² + eps), β2 = 1 − s^decayRate; u = g/√V; u ← u / max(1, rms(u)/clipThreshold);
 * p ← p·(1 − lr·wd) − lr·u. Parameters without a gradient are left alone. Source: Shazeer & Stern 2018, algorithms 4 and 5; transformers'
 * Adafactor with `scale_parameter` and `relative_step` off.
 */
export class Adafactor implements Optimizer {
  lr: number;
  readonly #parameters: readonly Tensor[];
  readonly #options: Required<Omit<AdafactorOptions, "lr">>;
  readonly #moments: Moments[];

  constructor(parameters: readonly Tensor[], options: AdafactorOptions) {
    checkParameters("Adafactor", parameters);
    checkOptions("Adafactor", options);
    const { lr, weightDecay = 0, decayRate = -0.8, eps = 1e-30, clipThreshold = 1 } = options;
    for (const [name, value] of Object.entries({ lr, weightDecay, decayRate, eps, clipThreshold }))
      checkNumber("Adafactor", name, value);
    if (parameters.length === 0) throw new Error("Adafactor: there is no parameter to train");
    this.lr = lr;
    this.#parameters = parameters;
    this.#options = { weightDecay, decayRate, eps, clipThreshold };
    this.#moments = parameters.map(({ shape, device }) => {
      const make = (size: readonly number[]): Tensor => keep(zeros([...size], { device }));
      const step = keep(zeros([]));
      if (shape.length < 2) return { whole: make(shape), step };
      return {
        row: make(shape.slice(0, -1)),
        column: make([...shape.slice(0, -2), shape.at(-1) as number]),
        step,
      };
    });
  }

  /** One update from the parameters' `grad`. */
  step(): void {
    const { weightDecay } = this.#options;
    noGrad(() => {
      for (const [i, parameter] of this.#parameters.entries()) {
        scope(() => {
          const gradient = parameter.grad;
          if (!gradient) return;
          const update = this.#update(i, gradient.to({ dtype: "float32" }));
          if (weightDecay !== 0) parameter.mul_(1 - this.lr * weightDecay);
          parameter.sub_(update.to({ dtype: parameter.dtype }), { alpha: this.lr });
        });
      }
    });
  }

  #update(i: number, gradient: Tensor): Tensor {
    const { decayRate, eps, clipThreshold } = this.#options;
    const { row, column, whole, step } = this.#moments[i] as Moments;
    const count = step.item() + 1;
    step.fill_(count);
    const share = count ** decayRate; // 1 − β2
    const square = gradient.square().add(eps);
    let update: Tensor;
    if (row && column) {
      row.lerp_(square.mean([-1]), share);
      column.lerp_(square.mean([-2]), share);
      const rowFactor = row
        .div(row.mean([-1], true))
        .rsqrt()
        .unsqueeze(-1);
      update = gradient.mul(rowFactor).mul(column.unsqueeze(-2).rsqrt());
    } else {
      const moment = (whole as Tensor).lerp_(square, share);
      update = gradient.mul(moment.rsqrt());
    }
    // Not `item()`: a GPU would be waited for once for every parameter. Where the update is small enough, this multiplies by 1.
    const rms = update.square().mean().sqrt();
    return update.mul(rms.reciprocal().mul(clipThreshold).clamp(null, 1));
  }

  zeroGrad(): void {
    for (const parameter of this.#parameters) parameter.grad = undefined;
  }

  /** Moments and step counts by name, N the parameter's place: `exp_avg_sq_row.N`, `exp_avg_sq_col.N` or `exp_avg_sq.N`, and `step.N`. */
  state(): Map<string, Tensor> {
    return new Map(
      this.#moments.flatMap(({ row, column, whole, step }, i): [string, Tensor][] => [
        ...(row && column
          ? ([
              [`exp_avg_sq_row.${i}`, row],
              [`exp_avg_sq_col.${i}`, column],
            ] as [string, Tensor][])
          : ([[`exp_avg_sq.${i}`, whole]] as [string, Tensor][])),
        [`step.${i}`, step],
      ]),
    );
  }

  dispose(): void {
    for (const tensor of this.state().values()) tensor.dispose();
  }
}
