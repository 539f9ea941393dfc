import sd15, { type SpoPreset } from "./spo-sd15.js";

/** The published one of SDXL: each candidate goes three steps alone before it is judged. Source: algorithm 4 and 5. */
export default {
  ...sd15,
  rounds: 20_000,
  promptsPerRound: 2,
  candidates: 2,
  innerSteps: 3,
  threshold: 0.4,
  rank: 64,
  batch: 4, // twice 2: gradients of two batches add up
  microBatch: 2,
  optimizer: { ...sd15.optimizer, lr: 1e-5 },
} satisfies SpoPreset;
