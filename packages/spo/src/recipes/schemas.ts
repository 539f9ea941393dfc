// The settings of all recipes. No tensor code: `spo/schemas` is safe to import anywhere.
import { CompareConfig } from "./compare/compare-config.js";
import { MakePairsConfig } from "./make-pairs/make-pairs-config.js";
import { PretrainClipConfig } from "./pretrain/pretrain-clip-config.js";
import { PretrainJudgeConfig } from "./pretrain/pretrain-judge-config.js";
import { PretrainTextToImageConfig } from "./pretrain/pretrain-text-to-image-config.js";
import { PretrainVaeConfig } from "./pretrain/pretrain-vae-config.js";
import { TrainDpoConfig } from "./train-dpo/train-dpo-config.js";
import { TrainSpmConfig } from "./train-spm/train-spm-config.js";
import { TrainSpoConfig } from "./train-spo/train-spo-config.js";

export { METHODS, type Method } from "./compare/compare-config.js";
export type * from "./settings.gen.js";
export {
  CompareConfig,
  MakePairsConfig,
  PretrainClipConfig,
  PretrainJudgeConfig,
  PretrainTextToImageConfig,
  PretrainVaeConfig,
  TrainDpoConfig,
  TrainSpmConfig,
  TrainSpoConfig,
};

/** The settings of each recipe, by its command, which is also the `kind` of its runs. In the order of docs/configuration.md. */
export const SCHEMAS = {
  "train spm": TrainSpmConfig,
  "train spo": TrainSpoConfig,
  "train dpo": TrainDpoConfig,
  compare: CompareConfig,
  "data pairs": MakePairsConfig,
  "pretrain vae": PretrainVaeConfig,
  "pretrain text-to-image": PretrainTextToImageConfig,
  "pretrain clip": PretrainClipConfig,
  "pretrain judge": PretrainJudgeConfig,
} as const;

/** A recipe by its command. */
export type RecipeKind = keyof typeof SCHEMAS;
