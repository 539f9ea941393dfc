import type { TrainSpmSettings } from "../recipes/settings.gen.js";

export type SpmPreset = Partial<TrainSpmSettings>;

/** The published step-aware preference model of Stable Diffusion 1.5. Source: algorithm 3c. */
export default {
  steps: 8000,
  batch: 64, // 16 on each of 4 GPUs; the weights of a loss are over all of them
  microBatch: 16,
  optimizer: { lr: 3e-6, betas: [0.9, 0.999], weightDecay: 0.3 },
  warmup: 500,
  maxGradNorm: 1,
  guidanceScale: 5,
  bank: 0,
  cleanShare: 0,
  pixelNoise: 0,
  maxTimestep: 999,
  evalTimesteps: [0, 251, 501, 701, 951],
} satisfies SpmPreset;
