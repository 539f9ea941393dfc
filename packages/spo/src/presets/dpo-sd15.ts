import type { TrainDpoSettings } from "../recipes/settings.gen.js";

export type DpoPreset = Partial<TrainDpoSettings>;

/** The published Diffusion-DPO of Stable Diffusion 1.5: the whole UNet, 2048 pairs an update. Source: algorithm 6. */
export default {
  objective: "dpo",
  steps: 2000,
  batch: 2048,
  microBatch: 1,
  resolution: 512,
  mirror: true,
  emptyPrompts: 0.2,
  beta: 5000,
  adapter: "full",
  optimizer: { kind: "adamw", lr: 2.048e-5, betas: [0.9, 0.999], weightDecay: 1e-2 },
  warmup: 500,
  maxGradNorm: 1,
} satisfies DpoPreset;
