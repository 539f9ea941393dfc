// Trainings on cards that people own: the published settings, computed in less memory.
import spm, { type SpmPreset } from "./spm-sd15.js";
import flux from "./spo-flux-dev.js";
import sd15, { type SpoPreset } from "./spo-sd15.js";
import sd35 from "./spo-sd35-medium.js";
import sdxl from "./spo-sdxl.js";

/** What costs no more than time, beside the rounding of bfloat16: what learns stays float32. */
const small = {
  dtype: "bfloat16",
  spmDtype: "bfloat16",
  vaeDtype: "bfloat16",
  vaeSlicing: true,
  microBatch: 1,
} satisfies SpoPreset;

/** SD1.5 in 8 GB. */
export const sd15In8 = { ...sd15, ...small, samplingBatch: 4 } satisfies SpoPreset;

/** SD1.5 in 12 GB: passes of more latents. */
export const sd15In12 = { ...sd15, ...small, samplingBatch: 20, microBatch: 2 } satisfies SpoPreset;

/** SDXL in 16 GB. */
export const sdxlIn16 = {
  ...sdxl,
  ...small,
  samplingBatch: 2,
  gradientCheckpointing: true,
  promptCache: "prompt-cache",
} satisfies SpoPreset;

/** SDXL in 24 GB: passes of more latents, and prompts are encoded in memory. */
export const sdxlIn24 = { ...sdxl, ...small, gradientCheckpointing: true, microBatch: 2 } satisfies SpoPreset;

/** Stable Diffusion 3.5 Medium in 12 GB: a T5 that is freed before the training. */
export const sd35In12 = {
  ...sd35,
  ...small,
  samplingBatch: 4,
  promptCache: "prompt-cache",
} satisfies SpoPreset;

/** FLUX.1-dev in 24 GB: its weights in 8 bits, a T5 that is freed before the training. */
export const fluxIn24 = {
  ...flux,
  ...small,
  baseDtype: "int8",
  samplingBatch: 4,
  promptCache: "prompt-cache",
} satisfies SpoPreset;

/** The preference model of SD1.5 in 12 GB: its weights and gradients in bfloat16, AdamW's moments in 8 bits. */
export const spmIn12 = {
  ...spm,
  microBatch: 1,
  gradientCheckpointing: true,
  dtype: "bfloat16",
  baseDtype: "bfloat16",
  vaeDtype: "bfloat16",
  vaeSlicing: true,
  optimizer: { ...spm.optimizer, kind: "adamw8bit" },
} satisfies SpmPreset;
