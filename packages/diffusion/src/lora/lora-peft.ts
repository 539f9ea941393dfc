// LoRA as peft names it: <part>.<module>.lora_A.weight (down) and lora_B.weight (up). Alpha stands in the metadata, or is the rank.
// Of a transformer it is what peft itself saves: base_model.model.<module>.…, with adapter_config.json beside it.
import type { Family } from "../families/family.js";
import { splitPart } from "./lora-adapter.js";
import type { LoraLayout } from "./lora-layout.js";
import type { LoraPiece } from "./lora-names.js";

/** peft's names of a layer's tensors; alpha as ComfyUI reads it beside them. */
export const PEFT_PIECES: Readonly<Record<LoraPiece, string>> = {
  down: "lora_A.weight",
  up: "lora_B.weight",
  alpha: "alpha",
};

export function peftLayout({ denoiser, loraMatrices }: Family): LoraLayout {
  const isOwn = loraMatrices === "lora_A";
  return {
    storesAlpha: false,
    hasConfig: isOwn,
    name(layer, piece) {
      const [part, module] = splitPart(layer);
      const stem = isOwn && part === denoiser ? `base_model.model.${module}` : layer;
      return `${stem}.${PEFT_PIECES[piece]}`;
    },
  };
}
