// Weights in 8 bits, one scale a row, of layers that do not learn.
import { native } from "@spo/native";
import { handleOf, wrap } from "../handle.js";
import { noGrad } from "../modes.js";
import { keep, scope } from "../scope.js";
import type { Tensor } from "../tensor.js";
import { reorderForCpu } from "./kernel-order.js";
import { replace } from "./parameter.js";

/** The addon's own: they keep neither x nor weights in full for backward, and give x alone a gradient. */
const INT8_LINEAR = native.op("spo::int8_linear", "");
const INT8_CONV2D = native.op("spo::int8_conv2d", "");

/** Parameters of a layer whose weights may be in 8 bits. */
export interface Int8Layer {
  /** [out, ...], int8 where there is a scale. */
  readonly weight: Tensor;
  readonly bias?: Tensor;
  /** float32 [out]: a row of the weight stands for itself times this. */
  weight_scale?: Tensor;
}

/** Largest code. −128 is left out, so that both signs reach as far. */
const LARGEST = 127;

/** Of a row of zeros, in place of dividing by 0. */
const SMALLEST_FLOAT = 1.2e-38;

/**
 * Rounds the weights of layers to the nearest of 255 evenly spaced values a row, from −m to m for the row's largest absolute value m, in
 * place. They no longer learn. A layer whose weights are in 8 bits stays as it is.
 *
 * Source: Dettmers et al. 2022, "LLM.int8()", section 2 (absmax by row), of the weights alone.
 */
export function quantizeInt8(layers: Iterable<Int8Layer>): void {
  for (const layer of layers) {
    if (layer.weight_scale) continue;
    const { weight } = layer;
    weight.requiresGrad = false;
    noGrad(() =>
      scope(() => {
        const full = weight.to({ dtype: "float32" });
        const rows = full.flatten(1);
        const scale = rows.amax(1).maximum(rows.amin(1).neg()).div(LARGEST);
        const perRow = scale.clamp(SMALLEST_FLOAT).reshape([-1, ...weight.shape.slice(1).map(() => 1)]);
        layer.weight_scale = keep(scale);
        replace(weight, keep(full.div(perRow).round().to({ dtype: "int8" })));
      }),
    );
    reorderForCpu(weight);
  }
}

/** x [..., in] → [..., out]. */
export const int8Linear = (x: Tensor, { weight, bias }: Int8Layer, scale: Tensor): Tensor =>
  wrap(
    native.call(INT8_LINEAR, handleOf(x, "Linear", "x"), weight.handle, scale.handle, bias?.handle ?? null),
  );

/** x [b, in, h, w] → [b, out, h', w']. */
export const int8Conv2d = (
  x: Tensor,
  { weight, bias }: Int8Layer,
  { scale, stride, padding }: { scale: Tensor; stride: number; padding: number },
): Tensor =>
  wrap(
    native.call(
      INT8_CONV2D,
      handleOf(x, "Conv2d", "x"),
      weight.handle,
      scale.handle,
      bias?.handle ?? null,
      stride,
      padding,
    ),
  );
