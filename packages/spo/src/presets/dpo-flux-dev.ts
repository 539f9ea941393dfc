import type { DpoPreset } from "./dpo-sd15.js";
import sd35 from "./dpo-sd35-medium.js";
import spo from "./spo-flux-dev.js";

/** Diffusion-DPO on the velocity of FLUX.1-dev. Source: as for Stable Diffusion 3.5, with FLUX's adapter. */
export default {
  ...sd35,
  ...{ rank: spo.rank, alpha: spo.alpha },
  guidanceScale: 3.5, // an input of the model, in training as in sampling
} satisfies DpoPreset;
