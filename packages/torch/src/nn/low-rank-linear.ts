// A linear map with a low-rank one beside it: what an adapter makes of a layer.
import { native } from "@spo/native";
import { handleOf, wrap } from "../handle.js";
import type { Tensor } from "../tensor.js";

/** The addon's own: one node of autograd, which keeps x and its low-rank product for backward. */
const LOW_RANK_LINEAR = native.op("spo::low_rank_linear", "");

/** ΔW = factor·up·down. */
export interface LowRank {
  /** [rank, in] */
  down: Tensor;
  /** [out, rank] */
  up: Tensor;
  factor: number;
}

/**
 * y = x·(W + ΔW)ᵀ + b, without ΔW in memory. x [..., in], weight [out, in], bias [out] → [..., out], in the dtype of x·Wᵀ.
 *
 * Where the weight learns, under autocast, and where `down` and `up` have another dtype than the rest, by libtorch's own operators: the
 * low-rank product is then taken in their dtype. Source: Hu et al. 2021, section 4.1.
 */
export const lowRankLinear = (
  x: Tensor,
  { weight, bias }: { weight: Tensor; bias?: Tensor },
  { down, up, factor }: LowRank,
): Tensor =>
  wrap(
    native.call(
      LOW_RANK_LINEAR,
      handleOf(x, "lowRankLinear", "x"),
      down.handle,
      up.handle,
      weight.handle,
      bias?.handle ?? null,
      factor,
    ),
  );
