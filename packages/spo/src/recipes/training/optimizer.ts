// The optimizers that a training may ask for.
import { Adafactor, AdamW, AdamW8bit, type Optimizer, type Tensor } from "@spo/torch";

/** Settings of an optimizer. */
export interface OptimizerSettings {
  kind: "adamw" | "adamw8bit" | "adafactor";
  lr: number;
  /** Of AdamW's two. */
  betas: readonly [number, number];
  weightDecay: number;
}

/** seed: of the rounding of weights that are not float32. */
export function makeOptimizer(
  parameters: readonly Tensor[],
  { kind, lr, betas, weightDecay }: OptimizerSettings,
  seed: number,
): Optimizer {
  switch (kind) {
    case "adafactor":
      return new Adafactor(parameters, { lr, weightDecay });
    case "adamw8bit":
      return new AdamW8bit(parameters, { lr, betas, weightDecay, seed });
    case "adamw":
      return new AdamW(parameters, { lr, betas, weightDecay });
  }
}
