// LoRA as peft names it: <part>.<module>.lora_A.weight (down) and lora_B.weight (up). Alpha stands in the metadata, or is the rank.
import type { LoraLayout } from "./lora-layout.js";

export function peftLayout(): LoraLayout {
  return {
    storesAlpha: false,
    name: (layer, piece) => `${layer}.${piece === "down" ? "lora_A" : "lora_B"}.weight`,
  };
}
