// The settings of all recipes. No tensor code: `spo/schemas` is safe to import anywhere.
import { CompareConfig } from "./comparison/compare-config.js";
import { TrainDpoConfig } from "./recipes/train-dpo/train-dpo-config.js";
import { TrainSpmConfig } from "./recipes/train-spm/train-spm-config.js";
import { TrainSpoConfig } from "./recipes/train-spo/train-spo-config.js";

export { type Method, methodsOf } from "./comparison/compare-config.js";
export * from "./recipes/bounds.js";
export { mapConfigPaths, pathsOf } from "./recipes/config-paths.js";
export { mayChange } from "./recipes/may-change.js";
export type * from "./recipes/settings.gen.js";
export { deviceSettings } from "./recipes/training/precision-config.js";
export { CompareConfig, TrainDpoConfig, TrainSpmConfig, TrainSpoConfig };

/** The settings of each recipe, by its command, which is also the `kind` of its runs. In the order of docs/configuration.md. */
export const SCHEMAS = {
  "train spm": TrainSpmConfig,
  "train spo": TrainSpoConfig,
  "train dpo": TrainDpoConfig,
  compare: CompareConfig,
} as const;

/** A recipe by its command. */
export type RecipeKind = keyof typeof SCHEMAS;
