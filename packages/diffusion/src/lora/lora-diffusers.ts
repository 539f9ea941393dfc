// LoRA as diffusers' save_lora_weights writes it:
// unet.<module>.lora.down|up.weight, text_encoder.<module>.lora_linear_layer.down|up.weight.
import type { Family } from "../families/family.js";
import { splitPart } from "./lora-adapter.js";
import type { LoraLayout } from "./lora-layout.js";

export function diffusersLayout({ denoiser }: Family): LoraLayout {
  return {
    storesAlpha: false,
    name(layer, piece) {
      const [part, module] = splitPart(layer);
      // The text encoders' projection is the one layer of theirs that diffusers names as the denoiser's.
      const middle = part === denoiser || module === "text_projection" ? "lora" : "lora_linear_layer";
      return `${layer}.${middle}.${piece}.weight`;
    },
  };
}
