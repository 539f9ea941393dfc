import { native } from "@spo/native";
import { handleOf, wrap } from "../handle.js";
import type { Tensor } from "../tensor.js";

/** The addon's own, which is libtorch's two operators where there is no kernel for a device, dtype or order. */
const GEGLU = native.op("spo::geglu", "");

/**
 * The first half of each row, times GELU of the other. x [..., 2·width] → [..., width].
 *
 * In float32 and, rounded once, in bfloat16 on a CPU in one pass, which keeps only x for backward. Source: Shazeer 2020, "GLU variants".
 */
export const geglu = (x: Tensor): Tensor => wrap(native.call(GEGLU, handleOf(x, "geglu", "x")));
