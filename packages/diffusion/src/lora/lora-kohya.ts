// LoRA as kohya's sd-scripts save it, and ComfyUI and the A1111 family read it:
// lora_unet_<module with _>.lora_down.weight, .lora_up.weight, .alpha.
import { ldmUnetNames, renamed } from "../layouts/ldm-unet-names.js";
import { type LoraParts, splitPart } from "./lora-adapter.js";
import type { LoraLayout } from "./lora-layout.js";
import type { LoraPiece } from "./lora-names.js";

const SUFFIXES: Readonly<Record<LoraPiece, string>> = {
  down: "lora_down.weight",
  up: "lora_up.weight",
  alpha: "alpha",
};

/**
 * SDXL's UNet stands under its original block names (`input_blocks_3_1_…`), SD1.5's under those of diffusers, as in files of kohya's own
 * trainer.
 */
export function kohyaLayout(parts: LoraParts): LoraLayout {
  const { config } = parts.unet;
  const sdxl = config.addition_embed_type === "text_time";
  const prefixes: Readonly<Record<string, string>> = {
    unet: "lora_unet_",
    text_encoder: sdxl ? "lora_te1_" : "lora_te_",
    text_encoder_2: "lora_te2_",
  };
  const original = new Map(ldmUnetNames(config));
  return {
    storesAlpha: true,
    name(layer, piece) {
      const [part, module] = splitPart(layer);
      const inFile = sdxl && part === "unet" ? (renamed(module, original) ?? module) : module;
      return `${prefixes[part]}${inFile.replaceAll(".", "_")}.${SUFFIXES[piece]}`;
    },
  };
}
