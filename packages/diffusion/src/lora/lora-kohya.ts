// LoRA as kohya's sd-scripts save it, and ComfyUI and the A1111 family read it: lora_unet_<module with _>.lora_down.weight, .lora_up.weight, .alpha.
import { Conv2d, Linear, type Module } from "@spo/torch";
import { ldmUnetNames, renamed } from "../layouts/ldm-unet-names.js";
import { LoraLayer } from "./lora.js";
import { LORA_PARTS, type LoraParts, splitPart } from "./lora-adapter.js";
import type { LoraLayout, LoraPiece } from "./lora-layout.js";

const PIECES: Readonly<Record<string, LoraPiece>> = {
  "lora_down.weight": "down",
  "lora_up.weight": "up",
  alpha: "alpha",
};
const SUFFIXES: Readonly<Record<LoraPiece, string>> = {
  down: "lora_down.weight",
  up: "lora_up.weight",
  alpha: "alpha",
};

/**
 * SDXL's UNet stands under its original block names (`input_blocks_3_1_…`), SD1.5's under those of diffusers, as kohya's own trainer has them.
 * Both are read for both. With `_` for `.` a name cannot be parted again, so it is looked up among the model's layers.
 */
export function kohyaLayout(parts: LoraParts): LoraLayout {
  const { config } = parts.unet;
  const sdxl = config.addition_embed_type === "text_time";
  const prefixes: Readonly<Record<keyof LoraParts, string>> = {
    unet: "lora_unet_",
    text_encoder: sdxl ? "lora_te1_" : "lora_te_",
    text_encoder_2: "lora_te2_",
  };
  const original = new Map(ldmUnetNames(config));
  const flat = (name: string): string => name.replaceAll(".", "_");
  /** Layer → name in the file. */
  const names = new Map<string, string>();
  /** Name in the file, in any spelling → layer. */
  const layers = new Map<string, string>();
  for (const part of LORA_PARTS) {
    for (const [module, found] of parts[part]?.modules() ?? []) {
      if (!isLayer(found)) continue;
      const layer = `${part}.${module}`;
      const ours = prefixes[part] + flat(module);
      const ldm = part === "unet" ? renamed(module, original) : undefined;
      layers.set(ours, layer);
      if (ldm !== undefined) layers.set(prefixes[part] + flat(ldm), layer);
      names.set(layer, sdxl && ldm !== undefined ? prefixes[part] + flat(ldm) : ours);
    }
  }
  return {
    storesAlpha: true,
    recognises: (name) => /^lora_(unet|te[12]?)_/.test(name),
    parse(name) {
      const dot = name.indexOf(".");
      const layer = layers.get(name.slice(0, dot));
      const piece = PIECES[name.slice(dot + 1)];
      return layer !== undefined && piece ? { layer, piece } : undefined;
    },
    name(layer, piece) {
      const [part, module] = splitPart(layer);
      const name = names.get(layer) ?? `${prefixes[part as keyof LoraParts]}${flat(module)}`;
      return `${name}.${SUFFIXES[piece]}`;
    },
  };
}

const isLayer = (module: Module): boolean =>
  module instanceof Linear || module instanceof Conv2d || module instanceof LoraLayer;
