// Visible loops, one file each: what `spo train` runs; and the parts that a training of one's own is made of.
export { mayChange } from "./may-change.js";
export { openContext, type RecipeContext, type RecipeEvent, type RecipeOptions } from "./recipe.js";
export * from "./schemas.js";
export { trainDpo } from "./train-dpo/train-dpo.js";
export { trainSpm } from "./train-spm/train-spm.js";
export { type SpoOptions, trainSpo } from "./train-spo/train-spo.js";
export { checkpointIsDue } from "./training/due.js";
export { learningRateAt } from "./training/learning-rate.js";
export { saveInHalf } from "./training/save-in-half.js";
export { restoreTrainingState, saveTrainingState } from "./training/training-state.js";
export { Update } from "./training/update.js";
