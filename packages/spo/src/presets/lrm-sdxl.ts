import sd15 from "./lrm-sd15.js";
import type { SpmPreset } from "./spm-sd15.js";

/** The published one of SDXL, whose VAE was madebyollin/sdxl-vae-fp16-fix. Source: as that of Stable Diffusion 1.5. */
export default {
  ...sd15,
  steps: 8000,
  batch: 32, // 4 on each of 8 GPUs
  microBatch: 4,
  warmup: 1000,
} satisfies SpmPreset;
