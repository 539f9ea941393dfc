import type { Tensor } from "@spo/torch";

/** Calls a layer for its inputs: as it is, or through `checkpoint`, which keeps none of what backward needs from inside it. */
export type LayerCall<T = Tensor> = (layer: (...inputs: Tensor[]) => T, inputs: readonly Tensor[]) => T;

/** The layer as it is. */
export const plainly = <T>(layer: (...inputs: Tensor[]) => T, inputs: readonly Tensor[]): T =>
  layer(...inputs);
