// Measures of a model's images on fixed prompts and seeds, and their intervals.
export { loadArtworkJudge } from "../artwork-judge.js";
export { readPrompts } from "../data/prompts.js";
export { bootstrapMean, type Estimate, winRate } from "../statistics.js";
export { type EvaluationTools, evaluateModel, type ImageFigures, judgeScore } from "./evaluate.js";
