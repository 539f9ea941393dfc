// LoRA as diffusers' save_lora_weights writes it:
// unet.<module>.lora.down|up.weight, text_encoder.<module>.lora_linear_layer.down|up.weight;
// of a transformer transformer.<module>.lora_A|lora_B.weight, which ai-toolkit writes too.
import type { Family } from "../families/family.js";
import { splitPart } from "./lora-adapter.js";
import type { LoraLayout } from "./lora-layout.js";
import { PEFT_PIECES } from "./lora-peft.js";

export function diffusersLayout({ denoiser, loraMatrices }: Family): LoraLayout {
  return {
    storesAlpha: false,
    name(layer, piece) {
      const [part, module] = splitPart(layer);
      if (loraMatrices === "lora_A") return `${layer}.${PEFT_PIECES[piece]}`;
      // The text encoders' projection is the one layer of theirs that diffusers names as the denoiser's.
      const middle = part === denoiser || module === "text_projection" ? "lora" : "lora_linear_layer";
      return `${layer}.${middle}.${piece}.weight`;
    },
  };
}
