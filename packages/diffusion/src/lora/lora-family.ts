// Finds out from an adapter file alone which models it changes.
import { openWeights, UserError } from "@spo/torch";
import { CLIPTextModel, CLIPTextModelWithProjection } from "../models/clip-text.js";
import { UNet2DConditionModel } from "../models/unet-2d-condition.js";
import type { PipelineConfigs } from "../pipelines/published-configs.js";
import type { LoraParts } from "./lora-adapter.js";
import { loraFileAt } from "./lora-file.js";
import type { LoraFamily } from "./lora-metadata.js";
import { loraOrigin } from "./lora-origin.js";

/**
 * The family of a LoRA file or of the folder that holds one, by the width of its cross-attention; undefined where nothing in it tells.
 *
 * Throws a UserError (`DATA`) for a family that is not supported.
 */
export function loraFamily(path: string): LoraFamily | undefined {
  using file = openWeights(loraFileAt(path));
  const origin = loraOrigin(file);
  if (!origin || origin.family) return origin?.family;
  throw new UserError(
    `${path} is a LoRA for ${origin.name}; supported are those for Stable Diffusion 1.5 and SDXL.`,
    {
      code: "DATA",
      hint: "For a model of one of these families with other sizes, give the folder with its configs (--configs).",
    },
  );
}

/** The models that an adapter may change, without values. */
export function blankLoraParts({ unet, text_encoder, text_encoder_2 }: PipelineConfigs): LoraParts {
  return {
    unet: new UNet2DConditionModel(unet),
    text_encoder: new CLIPTextModel(text_encoder),
    ...(text_encoder_2 && { text_encoder_2: new CLIPTextModelWithProjection(text_encoder_2) }),
  };
}
