import lpoSdxl from "./lpo-sdxl.js";
import type { SpoPreset } from "./spo-sd15.js";

/**
 * SPO of Stable Diffusion 3.5 Medium. Nobody has published such a run: steps, noise and adapter are those of Flow-GRPO (Liu et al. 2025),
 * the method's numbers those of SPO (Liang et al. 2024), batches those of LPO's SDXL.
 */
export default {
  rounds: 5000, // 5 epochs of 4000 prompts, 4 a round, as LPO
  promptsPerRound: 4,
  resolution: 512, // Flow-GRPO, DiffusionNFT, Flow-Factory train at 512 and sample at 1024
  steps: 10, // Flow-GRPO
  guidanceScale: 4.5, // Flow-GRPO, in sampling and in the loss
  stepNoise: "flow-sde", // Flow-GRPO
  eta: 0.7, // Flow-GRPO
  etaBefore: 0, // MixGRPO: the ODE outside of the window of noise
  candidates: 4, // SPO
  firstBranch: 1, // not the first step, whose mean moves least with the model
  lastBranch: 7, // nor the last two: Flow-GRPO leaves the last out, where the density is the narrowest
  threshold: 0.3, // SPO
  ratio: "normalised", // so that these two mean at each step what they do for Stable Diffusion
  beta: 10, // SPO
  clip: 0.1, // SPO
  adapter: "lora",
  rank: 32, // Flow-GRPO
  alpha: 64, // Flow-GRPO
  batch: 4, // LPO
  microBatch: 4,
  maxGradNorm: 1, // Flow-GRPO
  optimizer: lpoSdxl.optimizer, // 1e-5; Flow-Factory reports that preference losses diverge at 1e-4
  dtype: "bfloat16",
  gradientCheckpointing: true,
} satisfies SpoPreset;
