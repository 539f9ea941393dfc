import type { TrainSpoSettings } from "../recipes/settings.gen.js";

export type SpoPreset = Partial<TrainSpoSettings>;

/** The published SPO of Stable Diffusion 1.5: 10 epochs over 4000 prompts. Source: algorithm 4 and 5. */
export default {
  rounds: 4000,
  promptsPerRound: 10,
  steps: 20,
  guidanceScale: 5,
  eta: 1,
  candidates: 4,
  firstBranch: 4,
  innerSteps: 0,
  threshold: 0.3,
  adapter: "lora",
  rank: 4,
  beta: 10,
  clip: 0.1,
  batch: 10,
  microBatch: 10,
  maxGradNorm: null, // the published settings name 1, and the published code never clips
  optimizer: { lr: 6e-5, betas: [0.9, 0.999], weightDecay: 1e-4 },
} satisfies SpoPreset;
