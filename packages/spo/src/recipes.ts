// Visible loops, one file each: what `spo train` runs; and the parts that a training of one's own is made of.
export {
  openContext,
  ownDevice,
  type RecipeContext,
  type RecipeEvent,
  type RecipeOptions,
  runSettings,
  StopAsked,
} from "./recipes/recipe.js";
export { trainDpo } from "./recipes/train-dpo/train-dpo.js";
export { trainSpm } from "./recipes/train-spm/train-spm.js";
export { type SpoOptions, trainSpo } from "./recipes/train-spo/train-spo.js";
export { checkpointIsDue } from "./recipes/training/due.js";
export { learningRateAt } from "./recipes/training/learning-rate.js";
export { encodeFirst, PromptCache } from "./recipes/training/prompt-cache.js";
export { requireSameModels, requireSameWork } from "./recipes/training/require-same-work.js";
export { saveInHalf } from "./recipes/training/save-in-half.js";
export { spentTogether } from "./recipes/training/spent-together.js";
export {
  restoreTrainingState,
  type TrainingState,
  trainingStateFiles,
} from "./recipes/training/training-state.js";
export { Update } from "./recipes/training/update.js";
export * from "./schemas.js";
