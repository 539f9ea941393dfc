// The settings of all recipes. No tensor code: `spo/schemas` is safe to import anywhere.
export { CompareConfig, METHODS, type Method } from "./compare/compare-config.js";
export { MakePairsConfig } from "./make-pairs/make-pairs-config.js";
export { PretrainClipConfig } from "./pretrain/pretrain-clip-config.js";
export { PretrainJudgeConfig } from "./pretrain/pretrain-judge-config.js";
export { PretrainTextToImageConfig } from "./pretrain/pretrain-text-to-image-config.js";
export { PretrainVaeConfig } from "./pretrain/pretrain-vae-config.js";
export { TrainDpoConfig } from "./train-dpo/train-dpo-config.js";
export { TrainSpmConfig } from "./train-spm/train-spm-config.js";
export { TrainSpoConfig } from "./train-spo/train-spo-config.js";
