// How a file layout of LoRA names a layer's tensors when it is written. Reading is in lora-names.ts.
import type { LoraParts } from "./lora-adapter.js";
import type { LoraPiece } from "./lora-names.js";

/** One published way to name an adapter's tensors. */
export interface LoraLayout {
  /** The name in the file. */
  name(layer: string, piece: LoraPiece): string;
  /** Whether each layer's alpha is a tensor of the file. If not, alpha is the rank unless the metadata says otherwise. */
  readonly storesAlpha: boolean;
}

export type LoraLayoutOf = (parts: LoraParts) => LoraLayout;
