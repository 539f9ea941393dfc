// Visible loops, one file each: what `spo train` and `spo pretrain` run, and the quickstart that puts them in a row.
export { type ComparisonFacts, comparisonFacts } from "../comparison/comparison-facts.js";
export { type ComparisonEvent, compareMethods, type Pictures } from "./compare/compare-methods.js";
export { makePairs } from "./make-pairs/make-pairs.js";
export { mayChange } from "./may-change.js";
export { pretrainClip } from "./pretrain/pretrain-clip.js";
export { pretrainJudge } from "./pretrain/pretrain-judge.js";
export { pretrainTextToImage } from "./pretrain/pretrain-text-to-image.js";
export { pretrainVae } from "./pretrain/pretrain-vae.js";
export {
  type ControlResult,
  type Progress,
  type QuickstartOptions,
  type QuickstartResult,
  quickstart,
} from "./quickstart/quickstart.js";
export { quickstartReport } from "./quickstart/quickstart-report.js";
export type { RecipeContext, RecipeEvent, RecipeOptions } from "./recipe.js";
export * from "./schemas.js";
export { trainDpo } from "./train-dpo/train-dpo.js";
export { trainSpm } from "./train-spm/train-spm.js";
export { type SpoOptions, trainSpo } from "./train-spo/train-spo.js";
