import type { AddedConditions, Conditions } from "@spo/diffusion";
import { noGrad, scope, type Tensor } from "@spo/torch";
import { blank, type PlannedModels } from "./models.js";

/** Tokens of a prompt: as many as the text encoder has places for. */
const tokensOf = ({ texts }: PlannedModels): number => texts[0]?.config.max_position_embeddings ?? 77;

/** Token ids of n prompts for one of the text encoders. */
export const blankIds = (n: number, models: PlannedModels): Tensor =>
  blank([n, tokensOf(models)], models, "int64");

/** Encodes n prompts. */
export const encodeBlank = (n: number, models: PlannedModels): void =>
  noGrad(() =>
    scope(() => {
      for (const text of models.texts) text.forward(blankIds(n, models));
    }),
  );

/** What a UNet is told of n prompts, of the right shapes. */
export function blankConditions(n: number, models: PlannedModels): Conditions {
  const {
    cross_attention_dim: width,
    projection_class_embeddings_input_dim: all,
    addition_time_embed_dim: time,
  } = models.unet.config;
  const { dtype } = models.unet.conv_in.weight;
  const context = blank(
    [n, tokensOf(models), typeof width === "number" ? width : (width[0] as number)],
    models,
    dtype,
  );
  if (!models.unet.add_embedding) return { context };
  const added: AddedConditions = {
    textEmbeds: blank([n, (all as number) - 6 * (time as number)], models, dtype),
    timeIds: blank([n, 6], models),
  };
  return { context, added };
}

/** Latents of n images. */
export const blankLatents = (
  n: number,
  models: PlannedModels,
  [height, width]: readonly [number, number] = models.latentSize,
): Tensor => blank([n, models.unet.config.in_channels, height, width], models);
