import { noGrad } from "../modes.js";
import { _ampForeachNonFiniteCheckAndUnscale_, full, zeros } from "../ops.gen.js";
import { keep, scope } from "../scope.js";
import type { Tensor } from "../tensor.js";

/** Settings of a `LossScaler`, with PyTorch's defaults. */
export interface LossScalerOptions {
  /** The first scale. */
  initial?: number;
  /** What the scale is multiplied by after `interval` steps in a row without overflow. */
  growth?: number;
  /** What it is multiplied by after a step with overflow. */
  backoff?: number;
  interval?: number;
  device?: string;
}

/**
 * Keeps small gradients from vanishing in float16: the loss is multiplied before backward, the gradients are divided after it. The scale
 * grows until gradients overflow; a step with an overflow is to be left out.
 *
 *     scaler.scale(loss).backward();
 *     if (scaler.unscale(parameters)) optimizer.step();
 *     scaler.update();
 *
 * Source: Micikevicius et al. 2018, section 3.2; PyTorch's `GradScaler`, whose operators these are.
 */
export class LossScaler {
  readonly #options: Required<Omit<LossScalerOptions, "initial" | "device">>;
  readonly #scale: Tensor;
  readonly #tracker: Tensor;
  readonly #overflow: Tensor;

  constructor({
    initial = 65536,
    growth = 2,
    backoff = 0.5,
    interval = 2000,
    device = "cpu",
  }: LossScalerOptions = {}) {
    this.#options = { growth, backoff, interval };
    this.#scale = keep(full([1], initial, { device }));
    this.#tracker = keep(zeros([1], { dtype: "int32", device }));
    this.#overflow = keep(zeros([1], { device }));
  }

  /** The scale as it is now. */
  get value(): number {
    return this.#scale.item();
  }

  /** loss·scale, as its shape is. */
  scale(loss: Tensor): Tensor {
    return loss.mul(this.#scale.reshape([]));
  }

  /** Divides the gradients by the scale, in place. Gives whether all are finite; where not, they are of no use. */
  unscale(parameters: readonly Tensor[]): boolean {
    return noGrad(() =>
      scope(() => {
        const gradients = parameters.map((p) => p.grad).filter((g) => g !== undefined);
        const inverse = this.#scale.to({ dtype: "float64" }).reciprocal().to({ dtype: "float32" });
        this.#overflow.zero_();
        if (gradients.length > 0) _ampForeachNonFiniteCheckAndUnscale_(gradients, this.#overflow, inverse);
        return this.#overflow.item() === 0;
      }),
    );
  }

  /** Moves the scale by what the last `unscale` found. */
  update(): void {
    const { growth, backoff, interval } = this.#options;
    noGrad(() => this.#scale._ampUpdateScale_(this.#tracker, this.#overflow, growth, backoff, interval));
  }

  /** Scale and steps since its last change by `scale` and `growth_tracker`. The tensors are the live ones. */
  state(): Map<string, Tensor> {
    return new Map([
      ["scale", this.#scale],
      ["growth_tracker", this.#tracker],
    ]);
  }

  dispose(): void {
    for (const tensor of [this.#scale, this.#tracker, this.#overflow]) tensor.dispose();
  }
}
