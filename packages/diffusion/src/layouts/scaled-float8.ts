// Weights of eight bits with a scale beside each, as ComfyUI's quantized checkpoints have them.
import type { Tensor } from "@spo/torch";

/** What stands beside `X.weight`: its scale, by both names in use. */
const SCALES = ["scale_weight", "weight_scale"];
/** Scales for computing in eight bits, which is not done here, and marks that a model is quantized. */
const OF_QUANTIZATION = /(^|\.)(scale_input|input_scale|scaled_fp8|comfy_quant)$/;

/**
 * Multiplies each weight by its scale, in float32, and leaves out the entries of the quantization. Weights without them pass as they are.
 *
 * A scale has one number, or one for each row. Source: ComfyUI `comfy/ops.py`, scaled_fp8_ops.
 */
export function scaledFloat8(weights: ReadonlyMap<string, Tensor>): ReadonlyMap<string, Tensor> {
  const isScale = (name: string): boolean => SCALES.some((scale) => name.endsWith(`.${scale}`));
  const entries = [...weights].filter(([name]) => !isScale(name) && !OF_QUANTIZATION.test(name));
  if (entries.length === weights.size) return weights;
  return new Map(entries.map(([name, weight]) => [name, scaled(weight, scaleOf(name, weights))]));
}

function scaleOf(name: string, weights: ReadonlyMap<string, Tensor>): Tensor | undefined {
  if (!name.endsWith(".weight")) return undefined;
  const layer = name.slice(0, -"weight".length);
  return SCALES.map((scale) => weights.get(layer + scale)).find((found) => found !== undefined);
}

function scaled(weight: Tensor, scale: Tensor | undefined): Tensor {
  if (!scale) return weight;
  const rows = scale.numel === 1 ? [] : [scale.numel, ...weight.shape.slice(1).map(() => 1)];
  return weight.to({ dtype: "float32" }).mul(scale.to({ dtype: "float32" }).reshape(rows));
}
