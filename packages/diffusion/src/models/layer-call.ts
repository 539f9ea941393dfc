import type { Tensor } from "@spo/torch";

/** Calls a layer for its inputs: as it is, or through `checkpoint`, which keeps none of what backward needs from inside it. */
export type LayerCall = (layer: (...inputs: Tensor[]) => Tensor, inputs: readonly Tensor[]) => Tensor;

/** The layer as it is. */
export const plainly: LayerCall = (layer, inputs) => layer(...inputs);
