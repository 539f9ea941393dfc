import sd15 from "./lpo-sd15.js";
import type { SpoPreset } from "./spo-sd15.js";

/** The published one of SDXL: no inner steps, unlike SPO's. Source: as that of Stable Diffusion 1.5. */
export default {
  ...sd15,
  rounds: 5000, // 5 epochs of 4000 prompts, 4 a round
  promptsPerRound: 4,
  threshold: 0.45,
  thresholdMax: 0.6,
  rank: 64,
  batch: 4,
  microBatch: 4,
  gradientCheckpointing: true,
  optimizer: { ...sd15.optimizer, lr: 1e-5 },
} satisfies SpoPreset;
