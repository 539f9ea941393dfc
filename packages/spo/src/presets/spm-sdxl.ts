import sd15, { type SpmPreset } from "./spm-sd15.js";

/** The published one of SDXL. Its labels are made anew from plain scores first. Source: algorithm 3c. */
export default {
  ...sd15,
  steps: 7000,
  relabel: { threshold: 0.1 },
  optimizer: { ...sd15.optimizer, lr: 1e-6 },
} satisfies SpmPreset;
