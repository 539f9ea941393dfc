import type { DpoPreset } from "./dpo-sd15.js";
import spo from "./spo-sd35-medium.js";

/**
 * Diffusion-DPO on the velocity of Stable Diffusion 3.5 Medium, by a LoRA. Source: Flow-GRPO's script of DPO (Liu et al. 2025); its levels
 * of noise are those of Esser et al. 2024.
 */
export default {
  objective: "dpo",
  batch: 32, // of a LoRA, as the published code of Diffusion-DPO advises; Flow-GRPO's is spread over GPUs
  microBatch: 1,
  resolution: 512, // Flow-GRPO
  mirror: false,
  emptyPrompts: 0, // Flow-GRPO: no guidance in training, and no prompt left out
  beta: 100, // Flow-GRPO; of mean squared errors
  adapter: "lora",
  ...{ rank: spo.rank, alpha: spo.alpha },
  optimizer: { kind: "adamw", lr: 1e-5, betas: [0.9, 0.999], weightDecay: 1e-4 }, // Flow-Factory: 1e-4 diverges
  warmup: 0,
  maxGradNorm: 1, // Flow-GRPO
  ...{ dtype: spo.dtype, gradientCheckpointing: spo.gradientCheckpointing },
} satisfies DpoPreset;
