// LoRA as kohya's sd-scripts save it, and ComfyUI and the A1111 family read it:
// lora_unet_<module with _>.lora_down.weight, .lora_up.weight, .alpha.
import type { Family } from "../families/family.js";
import type { PipelineModels } from "../layouts/pipeline-folder.js";
import { splitPart } from "./lora-adapter.js";
import type { LoraLayout } from "./lora-layout.js";
import type { LoraPiece } from "./lora-names.js";

const SUFFIXES: Readonly<Record<LoraPiece, string>> = {
  down: "lora_down.weight",
  up: "lora_up.weight",
  alpha: "alpha",
};

/** Each part stands under its prefix, with the names of modules that kohya's own trainer gives. */
export function kohyaLayout(family: Family, models: PipelineModels): LoraLayout {
  const parts = new Map(
    Object.entries(family.parts).flatMap(([part, { lora }]) => {
      const model = models[part];
      const inFile = model && lora?.kohyaName?.(model);
      return lora ? [[part, { prefix: lora.kohyaPrefixes[0], inFile }] as const] : [];
    }),
  );
  return {
    storesAlpha: true,
    fuses: true,
    name(layer, piece) {
      const [part, module] = splitPart(layer);
      const { prefix, inFile } = parts.get(part) ?? {};
      const name = inFile?.(module) ?? module;
      return `${prefix}${name.replaceAll(".", "_")}.${SUFFIXES[piece]}`;
    },
  };
}
