import sd15, { type DpoPreset } from "./dpo-sd15.js";

/** The published one of SDXL: Adafactor, whose state is small, and a shorter warm-up. Source: algorithm 6. */
export default {
  ...sd15,
  resolution: 1024,
  optimizer: { ...sd15.optimizer, kind: "adafactor" },
  warmup: 200,
} satisfies DpoPreset;
