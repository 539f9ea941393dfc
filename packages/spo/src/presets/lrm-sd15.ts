import type { SpmPreset } from "./spm-sd15.js";

/**
 * The published latent reward model of Stable Diffusion 1.5, without its filter of pairs: `npx spo data filter`. Its images were squeezed
 * to a square, here they are cropped. Source: Zhang et al. 2025, "Diffusion model as a noise-aware latent reward model", and the configs of
 * its code.
 */
export default {
  kind: "latent",
  steps: 4000,
  batch: 128, // 16 on each of 8 GPUs; the weights of a loss are over all of them
  microBatch: 16,
  optimizer: { lr: 1e-5, betas: [0.9, 0.999], weightDecay: 0.3 }, // the decay is its optimizer's default, as in PickScore's code
  warmup: 500,
  maxGradNorm: 1,
  featureGuidance: 7.5,
  multiScale: true,
  noiseLevels: 20, // t = 1, 51, …, 951
  bank: 0,
  cleanShare: 0,
  maxTimestep: 999,
  evalEvery: 100,
  evalTimesteps: [1, 251, 501, 701, 951], // published: 1 alone
} satisfies SpmPreset;
