import { native } from "@spo/native";
import { checkSize } from "../arguments.js";
import type { Generator } from "../generator.js";
import { handleOf, wrap } from "../handle.js";
import { conv2d, embedding, layerNorm, linear, rmsNorm, upsampleNearest2d } from "../ops.gen.js";
import { scope } from "../scope.js";
import type { Tensor } from "../tensor.js";
import { int8Conv2d, int8Linear } from "./int8-weights.js";
import { inOrder } from "./kernel-order.js";
import { Module } from "./module.js";
import { parameter } from "./parameter.js";

/** Kaiming-uniform as in torch's `reset_parameters`: weight and bias from U(±1/√fanIn). */
function resetAffine(weight: Tensor, bias: Tensor | undefined, fanIn: number, generator: Generator): void {
  const bound = 1 / Math.sqrt(fanIn);
  weight.uniform_(-bound, bound, { generator });
  bias?.uniform_(-bound, bound, { generator });
}

/** y = x·Wᵀ + b. x [..., in] → [..., out]. */
export class Linear extends Module {
  readonly weight: Tensor;
  readonly bias?: Tensor;
  /** float32 [out]: of a weight in 8 bits (`quantizeInt8`). */
  weight_scale?: Tensor;

  constructor(inFeatures: number, outFeatures: number, { bias = true } = {}) {
    super();
    checkSize("Linear", "inFeatures", inFeatures);
    checkSize("Linear", "outFeatures", outFeatures);
    this.weight = parameter([outFeatures, inFeatures]);
    if (bias) this.bias = parameter([outFeatures]);
  }

  override reset(generator: Generator): void {
    resetAffine(this.weight, this.bias, this.weight.shape[1] as number, generator);
  }

  forward(x: Tensor): Tensor {
    return this.weight_scale ? int8Linear(x, this, this.weight_scale) : linear(x, this.weight, this.bias);
  }
}

/** The addon's own, which is libtorch's two operators where there is no kernel for a device, dtype or order. */
const DOUBLED_CONV2D = native.op("spo::doubled_conv2d", "");

/** x [b, in, h, w] → [b, out, h', w']; square kernel. */
export class Conv2d extends Module {
  readonly weight: Tensor;
  readonly bias?: Tensor;
  /** float32 [out]: of a weight in 8 bits (`quantizeInt8`). */
  weight_scale?: Tensor;
  readonly #stride: number;
  readonly #padding: number;

  constructor(
    inChannels: number,
    outChannels: number,
    kernelSize: number,
    { stride = 1, padding = 0, bias = true } = {},
  ) {
    super();
    for (const [name, value] of Object.entries({ inChannels, outChannels, kernelSize, stride, padding }))
      checkSize("Conv2d", name, value, name === "padding" ? 0 : 1);
    this.weight = parameter([outChannels, inChannels, kernelSize, kernelSize]);
    if (bias) this.bias = parameter([outChannels]);
    this.#stride = stride;
    this.#padding = padding;
  }

  get stride(): number {
    return this.#stride;
  }

  get padding(): number {
    return this.#padding;
  }

  override reset(generator: Generator): void {
    const [, channels, height, width] = this.weight.shape as [number, number, number, number];
    resetAffine(this.weight, this.bias, channels * height * width, generator);
  }

  forward(x: Tensor): Tensor {
    const [stride, padding] = [this.#stride, this.#padding];
    return this.weight_scale
      ? int8Conv2d(x, this, { scale: this.weight_scale, stride, padding })
      : conv2d(x, inOrder(this.weight), this.bias, stride, padding);
  }

  /**
   * The convolution of x doubled by repetition: x [b, in, h, w] → [b, out, 2h, 2w]. Of a 3×3 kernel, stride 1 and padding 1.
   *
   * In float32 on a CPU without the doubled map, and with a quarter of the products.
   */
  forwardDoubled(x: Tensor): Tensor {
    const input = handleOf(x, "Conv2d", "x");
    if (this.weight_scale) {
      const [height, width] = x.shape.slice(2) as [number, number];
      return scope(() => this.forward(upsampleNearest2d(x, [2 * height, 2 * width])));
    }
    return wrap(native.call(DOUBLED_CONV2D, input, inOrder(this.weight).handle, this.bias?.handle));
  }
}

/** The addon's own, which is libtorch's where there is no kernel for a device, dtype or order. */
const GROUP_NORM = native.op("spo::group_norm", "");

/** Normalises groups of channels of x [b, channels, ...]. */
export class GroupNorm extends Module {
  readonly weight: Tensor;
  readonly bias: Tensor;
  readonly #groups: number;
  readonly #eps: number;

  constructor(groups: number, channels: number, { eps = 1e-5 } = {}) {
    super();
    checkSize("GroupNorm", "groups", groups, 1);
    checkSize("GroupNorm", "channels", channels, 1);
    this.weight = parameter([channels]);
    this.bias = parameter([channels]);
    this.#groups = groups;
    this.#eps = eps;
  }

  override reset(): void {
    this.weight.fill_(1);
    this.bias.zero_();
  }

  forward(x: Tensor): Tensor {
    return this.#normalise(x, false);
  }

  /** SiLU of the normalised x: on a CPU in one pass, which keeps only x for backward. */
  forwardSilu(x: Tensor): Tensor {
    return this.#normalise(x, true);
  }

  #normalise(x: Tensor, silu: boolean): Tensor {
    const input = handleOf(x, "GroupNorm", "x");
    return wrap(
      native.call(GROUP_NORM, input, this.#groups, this.weight.handle, this.bias.handle, this.#eps, silu),
    );
  }
}

/** Normalises the last axis of x [..., width]. */
export class LayerNorm extends Module {
  readonly weight: Tensor;
  readonly bias: Tensor;
  readonly #shape: readonly number[];
  readonly #eps: number;

  constructor(width: number, { eps = 1e-5 } = {}) {
    super();
    checkSize("LayerNorm", "width", width, 1);
    this.weight = parameter([width]);
    this.bias = parameter([width]);
    this.#shape = [width];
    this.#eps = eps;
  }

  override reset(): void {
    this.weight.fill_(1);
    this.bias.zero_();
  }

  forward(x: Tensor): Tensor {
    return layerNorm(x, this.#shape, this.weight, this.bias, this.#eps);
  }
}

/** Divides the last axis of x [..., width] by its root mean square: w·x/√(mean x² + eps). Source: Zhang & Sennrich 2019. */
export class RMSNorm extends Module {
  readonly weight: Tensor;
  readonly #shape: readonly number[];
  readonly #eps: number | null;

  /** eps null: the least step of the dtype at 1, torch's own default. */
  constructor(width: number, { eps = 1e-6 }: { eps?: number | null } = {}) {
    super();
    checkSize("RMSNorm", "width", width, 1);
    this.weight = parameter([width]);
    this.#shape = [width];
    this.#eps = eps;
  }

  override reset(): void {
    this.weight.fill_(1);
  }

  forward(x: Tensor): Tensor {
    return rmsNorm(x, this.#shape, this.weight, this.#eps);
  }
}

/** Rows of a table. ids (int64) [...] → [..., width]. */
export class Embedding extends Module {
  readonly weight: Tensor;

  constructor(count: number, width: number) {
    super();
    checkSize("Embedding", "count", count);
    checkSize("Embedding", "width", width);
    this.weight = parameter([count, width]);
  }

  /** N(0, 1), torch's default. */
  override reset(generator: Generator): void {
    this.weight.normal_(0, 1, { generator });
  }

  forward(ids: Tensor): Tensor {
    return embedding(this.weight, ids);
  }
}
