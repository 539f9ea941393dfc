import { checkNumber, checkOptions } from "../arguments.js";
import { handleOf } from "../handle.js";
import { noGrad } from "../modes.js";
import { _ampForeachNonFiniteCheckAndUnscale_, full, zeros } from "../ops.gen.js";
import { keep, scope } from "../scope.js";
import type { Tensor } from "../tensor.js";
import { checkParameters } from "./optimizer.js";

/** Settings of a `LossScaler`, with PyTorch's defaults. */
export interface LossScalerOptions {
  /** The first scale. */
  initial?: number;
  /** What the scale is multiplied by after `interval` steps in a row without overflow. */
  growth?: number;
  /** What it is multiplied by after a step with overflow. */
  backoff?: number;
  interval?: number;
}

/**
 * Keeps small gradients from vanishing in float16: the loss is multiplied before backward, the gradients are divided after it. The scale
 * grows until gradients overflow; a step with an overflow is to be left out.
 *
 *     scaler.scale(loss).backward();
 *     if (scaler.unscale(parameters)) optimizer.step();
 *     scaler.update();
 *
 * The scale itself is on the CPU, wherever the gradients are: reading it waits for no GPU, and its reciprocal can be taken in float64,
 * which Apple's GPUs lack. A step waits for the device once, to learn whether there was an overflow.
 * Source: Micikevicius et al. 2018, section 3.2; PyTorch's `GradScaler`, whose operators these are.
 */
export class LossScaler {
  readonly #options: Required<Omit<LossScalerOptions, "initial">>;
  readonly #scale: Tensor;
  readonly #tracker: Tensor;
  readonly #overflow: Tensor;

  constructor(options: LossScalerOptions = {}) {
    checkOptions("LossScaler", options);
    const { initial = 65536, growth = 2, backoff = 0.5, interval = 2000 } = options;
    for (const [name, value] of Object.entries({ initial, growth, backoff, interval }))
      checkNumber("LossScaler", name, value);
    this.#options = { growth, backoff, interval };
    this.#scale = keep(full([1], initial));
    this.#tracker = keep(zeros([1], { dtype: "int32" }));
    this.#overflow = keep(zeros([1]));
  }

  /** The scale as it is now. */
  get value(): number {
    return this.#scale.item();
  }

  /** loss·scale, in the loss's shape. */
  scale(loss: Tensor): Tensor {
    handleOf(loss, "LossScaler.scale", "loss");
    return loss.mul(this.value);
  }

  /** Divides the gradients by the scale, in place → whether all are finite. If not, leave the update out. */
  unscale(parameters: readonly Tensor[]): boolean {
    checkParameters("LossScaler.unscale", parameters);
    return noGrad(() =>
      scope(() => {
        const gradients = parameters.map((p) => p.grad).filter((g) => g !== undefined);
        this.#overflow.zero_();
        const device = gradients[0]?.device;
        if (device !== undefined) {
          const found = zeros([1], { device });
          _ampForeachNonFiniteCheckAndUnscale_(gradients, found, full([1], 1 / this.value, { device }));
          this.#overflow.copy_(found);
        }
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
