// Settings of a policy's result. No tensor code: help and checks need no engine.
import { z } from "zod";

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
