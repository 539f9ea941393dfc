// Which models an adapter file changes, told from the file alone.
import { openWeights, UserError } from "@spo/torch";
import { CLIPTextModel, CLIPTextModelWithProjection } from "../models/clip-text.js";
import { UNet2DConditionModel } from "../models/unet-2d-condition.js";
import type { PipelineConfigs } from "../pipelines/published-configs.js";
import type { LoraParts } from "./lora-adapter.js";
import { loraFileAt } from "./lora-file.js";
import type { LoraFamily } from "./lora-metadata.js";

/** Width of the text that a family's cross-attention looks at. */
const CONTEXT: Readonly<Record<number, LoraFamily>> = { 768: "sd15", 2048: "sdxl" };

/** Names that only SDXL has: its second text encoder. */
const ONLY_SDXL = /^lora_te2_|(^|\.)text_encoder_2\./;

/**
 * The family of a LoRA file or of the folder that holds one, by the width of its cross-attention; undefined where nothing in it tells.
 *
 * Throws a UserError (`DATA`) for a family that is not supported.
 */
export function loraFamily(path: string): LoraFamily | undefined {
  using file = openWeights(loraFileAt(path));
  const names = file.keys();
  const keys = names.find((name) => /attn2[._](processor\.)?to_[kv]\b.*(down|lora_A)\b.*weight$/.test(name));
  const width = keys === undefined ? undefined : file.info(keys).shape[1];
  const family = width === undefined ? undefined : CONTEXT[width];
  if (family) return family;
  if (width !== undefined && !names.some((name) => ONLY_SDXL.test(name))) {
    throw new UserError(
      `${path} is for a model whose text is ${width} wide; Stable Diffusion 1.5 has 768, SDXL 2048.`,
      {
        code: "DATA",
        hint: "For a model of one of these families with other sizes, give the folder with its configs (--configs).",
      },
    );
  }
  return names.some((name) => ONLY_SDXL.test(name)) ? "sdxl" : undefined;
}

/** The models that an adapter may change, without values. */
export function blankLoraParts({ unet, text_encoder, text_encoder_2 }: PipelineConfigs): LoraParts {
  return {
    unet: new UNet2DConditionModel(unet),
    text_encoder: new CLIPTextModel(text_encoder),
    ...(text_encoder_2 && { text_encoder_2: new CLIPTextModelWithProjection(text_encoder_2) }),
  };
}
