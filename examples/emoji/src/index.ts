// The embedded example: how its models and pairs are made, its judge, and the quickstart that puts the recipes in a row.
export { artworkScorer, onPromptScorer } from "./judge/artwork-scorer.js";
export { makePairs } from "./make-pairs/make-pairs.js";
export { pretrainClip } from "./pretrain/pretrain-clip.js";
export { pretrainJudge } from "./pretrain/pretrain-judge.js";
export { pretrainLrm } from "./pretrain/pretrain-lrm.js";
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
export * from "./schemas.js";
