// What the file layouts of LoRA have in common: a name in the file says a layer and one of its tensors.
import type { LoraParts } from "./lora-adapter.js";

export type LoraPiece = "down" | "up" | "alpha";

/** One published way to name an adapter's tensors. */
export interface LoraLayout {
  /** Whether a file's names look like this layout. */
  recognises(name: string): boolean;
  /** Layer and tensor of a name; undefined where this layout has no such name. */
  parse(name: string): { layer: string; piece: LoraPiece } | undefined;
  /** The name in the file. */
  name(layer: string, piece: LoraPiece): string;
  /** Whether each layer's alpha is a tensor of the file. If not, alpha is the rank unless the metadata says else. */
  readonly storesAlpha: boolean;
}

export type LoraLayoutOf = (parts: LoraParts) => LoraLayout;

/** Text encoders are published with and without the prefix `text_model.`; the models here have it. */
export function withTextPrefix(part: string, module: string): string {
  return part === "unet" || /^(text_model|text_projection)\b/.test(module)
    ? `${part}.${module}`
    : `${part}.text_model.${module}`;
}
