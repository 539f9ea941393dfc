import { type Check, GOLDEN_FAMILIES } from "@spo/diffusion";
import { rewardChecks } from "@spo/scorers";
import { checkAdamW } from "./verify-adamw.js";
import { flowChecks } from "./verify-flow-losses.js";
import { checkDpoLoss, checkSpoLoss } from "./verify-losses.js";
import { checkLrm, checkLrmDecisions, checkLrmLoss, checkLrmRollout } from "./verify-lrm.js";
import { checkDecisions, checkRollout } from "./verify-resampler.js";
import { checkNoising, checkPixels, checkSpm, checkSpmLoss } from "./verify-spm.js";

/** Golden values of the method: what `spo verify` runs, and the tests. Sizes and settings are read from the files. */
export const spoChecks: Check[] = [
  { name: "SPM features, scores and taps", files: ["expected-spm.safetensors", "tiny-spm"], run: checkSpm },
  { name: "SPM pixels", files: ["spm-preprocess.safetensors", "tiny-spm"], run: checkPixels },
  { name: "SPM loss and gradients", files: ["losses-spm.safetensors", "tiny-spm"], run: checkSpmLoss },
  { name: "resampler decisions", files: ["resampler.json"], run: checkDecisions },
  { name: "AdamW and clipping", files: ["losses-adamw.safetensors"], run: checkAdamW },
  ...GOLDEN_FAMILIES.flatMap((family): Check[] => [
    {
      name: `SPM noising, ${family}`,
      files: [`spm-noising-${family}.safetensors`, `tiny-${family}`, "tiny-spm"],
      run: (folder) => checkNoising(folder, family),
    },
    {
      name: `rollout, ${family}`,
      files: [`rollout-${family}.safetensors`, `tiny-${family}`, "tiny-spm"],
      run: (folder) => checkRollout(folder, family),
    },
    {
      name: `SPO loss and gradients, ${family}`,
      files: [`losses-spo-${family}.safetensors`, `tiny-${family}`],
      run: (folder) => checkSpoLoss(folder, family),
    },
    {
      name: `Diffusion-DPO loss and gradients, ${family}`,
      files: [`losses-dpo-${family}.safetensors`, `tiny-${family}`],
      run: (folder) => checkDpoLoss(folder, family),
    },
    {
      name: `LRM features and scores, ${family}`,
      files: [`expected-lrm-${family}.safetensors`, `tiny-lrm-${family}`],
      optional: `expected-lrm-${family}.safetensors`,
      run: (folder) => checkLrm(folder, family),
    },
    {
      name: `LRM loss and gradients, ${family}`,
      files: [`losses-lrm-${family}.safetensors`, `tiny-lrm-${family}`],
      baseFiles: [`tiny-${family}`],
      optional: `losses-lrm-${family}.safetensors`,
      run: (folder, base) => checkLrmLoss(folder, base, family),
    },
    {
      name: `LRM rollout, ${family}`,
      files: [`rollout-lrm-${family}.safetensors`, `tiny-lrm-${family}`],
      baseFiles: [`tiny-${family}`],
      optional: `rollout-lrm-${family}.safetensors`,
      run: (folder, base) => checkLrmRollout(folder, base, family),
    },
  ]),
  {
    name: "LRM thresholds and decisions",
    files: ["lrm-compare.json"],
    baseFiles: ["tiny-sd15"],
    optional: "lrm-compare.json",
    run: checkLrmDecisions,
  },
  ...flowChecks,
  ...rewardChecks,
];
