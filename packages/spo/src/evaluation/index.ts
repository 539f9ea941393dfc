// Measures of a model's images on fixed prompts and seeds, and their intervals.

export { bytesOfImage } from "../data/image-bytes.js";
export { encodePng, rgbFromPixels } from "../data/pixels.js";
export { readPrompts } from "../data/prompts.js";
export { thumbnail } from "../data/thumbnail.js";
export { loadArtworkJudge } from "../rewards/artwork-judge.js";
export { bootstrapMean, type Estimate, winRate } from "../statistics.js";
export { type DrawSettings, drawSet } from "./draw-set.js";
export { type EvaluationTools, evaluateModel, type ImageFigures, judgeScore } from "./evaluate.js";
export { checkImagesDecode, type ScoreSetOptions, type SetScores, scoreSet } from "./score-set.js";
export { type MetricFigures, pairsOf, type ScoredImage, type SetFigures, setFigures } from "./set-figures.js";
