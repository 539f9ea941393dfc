// LoRA as diffusers' save_lora_weights writes it:
// unet.<module>.lora.down|up.weight, text_encoder.<module>.lora_linear_layer.down|up.weight.
import { splitPart } from "./lora-adapter.js";
import type { LoraLayout } from "./lora-layout.js";

export function diffusersLayout(): LoraLayout {
  return {
    storesAlpha: false,
    name(layer, piece) {
      const [part, module] = splitPart(layer);
      // Of the text encoders' layers, diffusers names only the projection like the UNet's.
      const middle = part === "unet" || module === "text_projection" ? "lora" : "lora_linear_layer";
      return `${layer}.${middle}.${piece}.weight`;
    },
  };
}
