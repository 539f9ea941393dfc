// Settings of a policy's result. No tensor code: help and checks need no engine.
import { z } from "zod";
import { MOST_FACTOR } from "../bounds.js";

/** For the schema of a recipe that trains a policy: of a LoRA, beside its rank. */
export const adapterSettings = {
  alpha: z
    .number()
    .positive()
    .max(MOST_FACTOR)
    .nullable()
    .default(null)
    .describe("of the LoRA, whose change of a weight is multiplied by alpha/rank; null: the rank, so by 1"),
  targets: z
    .array(z.string().min(1))
    .min(1)
    .nullable()
    .default(null)
    .describe(
      "ends of the names of the layers that get a LoRA, as to_q or ff.net.2; null: those that the model's family adapts, the attention",
    ),
  textEncoders: z
    .boolean()
    .default(false)
    .describe(
      "a LoRA of the same rank and alpha on the attention of CLIP's text encoders too; prompts are then encoded in each pass",
    ),
};

/** For the schema of a recipe that trains a policy. */
export const emaSettings = {
  ema: z
    .number()
    .min(0)
    .max(0.288)
    .default(0)
    .describe(
      "width of the moving average of weights (EMA) that is kept as the result, as a part of the training: 0.2 averages about the last half; 0: the last weights themselves",
    ),
};
