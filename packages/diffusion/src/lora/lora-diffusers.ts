// LoRA as diffusers' save_lora_weights writes it: unet.<module>.lora.down|up.weight, text_encoder.<module>.lora_linear_layer.down|up.weight.
import { splitPart } from "./lora-adapter.js";
import type { LoraLayout, LoraPiece } from "./lora-layout.js";
import { withTextPrefix } from "./lora-layout.js";

/** Also reads the names before diffusers 0.22 (`….processor.to_q_lora.down.weight`), and an alpha beside the weights. */
export function diffusersLayout(): LoraLayout {
  return {
    storesAlpha: false,
    recognises: (name) => /(\.lora|_lora|\.lora_linear_layer)\.(down|up)\.weight$/.test(name),
    parse(name) {
      const match = /^(?:(unet|text_encoder|text_encoder_2)\.)?(.+?)\.(.+)$/.exec(name);
      if (!match) return undefined;
      const [, part = "unet"] = match;
      const rest = match[1] === undefined ? name : name.slice(part.length + 1);
      const tensor = /^(.+?)(?:(_lora)|\.lora|\.lora_linear_layer)\.(down|up)\.weight$/.exec(rest);
      if (tensor) {
        const [, module, old, piece] = tensor as unknown as [string, string, string | undefined, LoraPiece];
        return { layer: withTextPrefix(part, old ? renewed(module) : module), piece };
      }
      const alpha = /^(.+?)(?:\.lora)?\.alpha$/.exec(rest);
      return alpha ? { layer: withTextPrefix(part, alpha[1] as string), piece: "alpha" } : undefined;
    },
    name(layer, piece) {
      const [part, module] = splitPart(layer);
      // The text encoders' projection is the one layer of theirs that diffusers names as the UNet's.
      const middle = part === "unet" || module === "text_projection" ? "lora" : "lora_linear_layer";
      return `${layer}.${middle}.${piece}.weight`;
    },
  };
}

/** `attn1.processor.to_out` → `attn1.to_out.0` */
const renewed = (module: string): string =>
  module.replace(/\.processor\./, ".").replace(/\.to_out$/, ".to_out.0");
