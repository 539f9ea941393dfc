// SPO on cards that people own: the published settings, computed in less memory.
import sd15, { type SpoPreset } from "./spo-sd15.js";
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
