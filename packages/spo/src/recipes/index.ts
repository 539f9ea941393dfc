// Visible loops, one file each: what `spo train` and `spo pretrain` run, and the quickstart that puts them in a row.
export { type ComparisonFacts, comparisonFacts } from "../comparison/comparison-facts.js";
export { type ComparisonEvent, compareMethods, type Pictures } from "./compare-methods.js";
export { makePairs } from "./make-pairs.js";
export { pretrainClip } from "./pretrain-clip.js";
export { pretrainJudge } from "./pretrain-judge.js";
export { pretrainTextToImage } from "./pretrain-text-to-image.js";
export { pretrainVae } from "./pretrain-vae.js";
export {
  type ControlResult,
  type Progress,
  type QuickstartOptions,
  type QuickstartResult,
  quickstart,
} from "./quickstart.js";
export { quickstartReport } from "./quickstart-report.js";
export type { RecipeContext, RecipeEvent, RecipeOptions } from "./recipe.js";
export * from "./schemas.js";
export { trainDpo } from "./train-dpo.js";
export { trainSpm } from "./train-spm.js";
export { type SpoOptions, trainSpo } from "./train-spo.js";
