import spo, { type SpoPreset } from "./spo-sd15.js";

/**
 * The published LPO of Stable Diffusion 1.5: SPO whose judge is a latent reward model, 5 epochs over 4000 prompts. What is not named here
 * is as in SPO, on whose code it is built. Source: Zhang et al. 2025, "Diffusion model as a noise-aware latent reward model", and the
 * configs of its code.
 */
export default {
  ...spo,
  rounds: 4000, // 5 epochs of 4000 prompts, 5 a round
  promptsPerRound: 5,
  firstBranch: 0, // a noisy latent is judged as it is, so all 20 steps are compared
  judgeTimestep: "source", // the code tells the judge the timestep of the step, not the one that it leads to
  threshold: 0.35,
  thresholdMax: 0.5,
  thresholdBy: "sigma",
  beta: 500,
} satisfies SpoPreset;
