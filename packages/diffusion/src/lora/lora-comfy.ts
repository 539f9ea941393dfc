// LoRA in the names of a transformer's original code, as ComfyUI reads them and its trainers write:
// diffusion_model.<original module>.lora_A|lora_B.weight, and .alpha where it is not the rank.
import type { Family } from "../families/family.js";
import type { PipelineModels } from "../layouts/pipeline-folder.js";
import { splitPart } from "./lora-adapter.js";
import type { LoraLayout } from "./lora-layout.js";
import { PEFT_PIECES } from "./lora-peft.js";

export function comfyLayout(family: Family, models: PipelineModels): LoraLayout {
  const names = new Map(
    Object.entries(family.parts).map(([part, { lora }]) => {
      const model = models[part];
      const prefix = part === family.denoiser ? "diffusion_model." : lora?.prefixes[0];
      return [part, { prefix, inFile: model && lora?.originalName?.(model) }] as const;
    }),
  );
  return {
    storesAlpha: "unless rank",
    fuses: true,
    name(layer, piece) {
      const [part, module] = splitPart(layer);
      const { prefix = "", inFile } = names.get(part) ?? {};
      return `${prefix}${inFile?.(module) ?? module}.${PEFT_PIECES[piece]}`;
    },
  };
}
