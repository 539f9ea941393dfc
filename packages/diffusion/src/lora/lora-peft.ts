// LoRA as peft names it: <part>.<module>.lora_A.weight (down) and lora_B.weight (up). Alpha stands in the metadata, or is the rank.
import type { LoraLayout } from "./lora-layout.js";
import { withTextPrefix } from "./lora-layout.js";

/**
 * The adapter's name after `lora_A` and the wrapper's prefix `base_model.model.`, which peft's own files have, are left out. A name without a
 * part is the UNet's.
 */
export function peftLayout(): LoraLayout {
  return {
    storesAlpha: false,
    recognises: (name) => /\.lora_[AB]\./.test(name),
    parse(name) {
      const match =
        /^(?:base_model\.model\.)?(?:(unet|text_encoder|text_encoder_2)\.)?(.+)\.lora_([AB])(?:\.(?!weight$)\w+)?\.weight$/.exec(
          name,
        );
      if (!match) return undefined;
      const [, part = "unet", module, matrix] = match;
      return { layer: withTextPrefix(part, module as string), piece: matrix === "A" ? "down" : "up" };
    },
    name: (layer, piece) => `${layer}.${piece === "down" ? "lora_A" : "lora_B"}.weight`,
  };
}
