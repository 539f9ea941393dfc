// The settings of all recipes. No tensor code: `spo/schemas` is safe to import anywhere.
export { CompareConfig, METHODS, type Method } from "./compare-config.js";
export { MakePairsConfig } from "./make-pairs-config.js";
export { PretrainClipConfig } from "./pretrain-clip-config.js";
export { PretrainJudgeConfig } from "./pretrain-judge-config.js";
export { PretrainTextToImageConfig } from "./pretrain-text-to-image-config.js";
export { PretrainVaeConfig } from "./pretrain-vae-config.js";
export { TrainDpoConfig } from "./train-dpo-config.js";
export { TrainSpmConfig } from "./train-spm-config.js";
export { TrainSpoConfig } from "./train-spo-config.js";
