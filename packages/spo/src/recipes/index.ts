// Visible loops, one file each: what `spo train` and `spo pretrain` run, and the quickstart that puts them in a row.
export { MakePairsConfig, makePairs } from "./make-pairs.js";
export { PretrainClipConfig, pretrainClip } from "./pretrain-clip.js";
export { PretrainJudgeConfig, pretrainJudge } from "./pretrain-judge.js";
export { PretrainTextToImageConfig, pretrainTextToImage } from "./pretrain-text-to-image.js";
export { PretrainVaeConfig, pretrainVae } from "./pretrain-vae.js";
export { type Progress, type QuickstartOptions, type QuickstartResult, quickstart } from "./quickstart.js";
export type { RecipeContext, RecipeEvent } from "./recipe.js";
export { TrainSpmConfig, trainSpm } from "./train-spm.js";
export { TrainSpoConfig, trainSpo } from "./train-spo.js";
