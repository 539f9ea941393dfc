import type { SpoPreset } from "./spo-sd15.js";
import sd35 from "./spo-sd35-medium.js";

/**
 * SPO of FLUX.1-dev, which is told its guidance and needs no second side. Steps, window and adapter are those of Flow-Factory's GRPO runs
 * (2026), the rest as for Stable Diffusion 3.5.
 */
export default {
  ...sd35,
  guidanceScale: 3.5, // Flow-GRPO, DanceGRPO, MixGRPO, Flow-Factory
  lastBranch: 3, // Flow-Factory: noise in steps 1 to 3 of 10
  rank: 64, // Flow-Factory
  alpha: 128, // Flow-Factory
} satisfies SpoPreset;
