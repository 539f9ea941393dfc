import { scope, type Tensor } from "@spo/torch";
import type { VpConfig } from "./vp-config.js";

/**
 * x̂0 clamped to [−s, s] and divided by s, where s is the quantile `ratio` of its magnitudes, at least 1 and at most `max`.
 *
 * x0 [b, c, h, w], each image by itself. Source: Saharia et al. 2022, section 2.3.
 */
export function dynamicThreshold(x0: Tensor, { ratio, max }: { ratio: number; max: number }): Tensor {
  return scope(() => {
    const s = x0.flatten(1).abs().quantile(ratio, 1).clamp(1, max).reshape([-1, 1, 1, 1]); // [b, 1, 1, 1]
    return x0.minimum(s).maximum(s.neg()).div(s);
  });
}

/** Whether a config bounds x̂0 at all. */
export const boundsX0 = ({ thresholding, clip_sample }: VpConfig): boolean =>
  thresholding === true || clip_sample === true;

/** x̂0 under the config's `thresholding`. */
export function thresholdX0(x0: Tensor, config: VpConfig): Tensor {
  const { thresholding, dynamic_thresholding_ratio: ratio, sample_max_value: max } = config;
  return thresholding ? dynamicThreshold(x0, { ratio: ratio ?? 0.995, max: max ?? 1 }) : x0;
}

/** x̂0 under the config's `thresholding`, or else its `clip_sample`. */
export function boundX0(x0: Tensor, config: VpConfig): Tensor {
  const { thresholding, clip_sample, clip_sample_range } = config;
  if (thresholding || !clip_sample) return thresholdX0(x0, config);
  const range = clip_sample_range ?? 1;
  return x0.clamp(-range, range);
}
