// Scorers of finished images, each from its published checkpoint's own layout, and measures of sets of images.
export { ClipConfigSchema, readProcessor } from "./clip/clip-config.js";
export { readClipFiles, readScorerWeights } from "./clip/clip-files.js";
export { CLIPModel, loadClip } from "./clip/clip-model.js";
export { CLIPVisionEmbeddings, type VisionConfig } from "./clip/clip-vision-embeddings.js";
export {
  centreCrop,
  clipProcessor,
  resizeShortSide,
  type ScoreProcessor,
  scorePixels,
  trainPixels,
} from "./clip/preprocess.js";
export { unit } from "./clip/unit.js";
export { type DrawSettings, drawSet } from "./measures/draw-set.js";
export { type GroupedFeatures, kernelDistance } from "./measures/kernel-distance.js";
export { roundTrip, type SampleSettings, sampleImages } from "./measures/samples.js";
export {
  checkImagesDecode,
  type ScoreSetOptions,
  type SetScores,
  scoreSet,
} from "./measures/score-set.js";
export {
  type MetricFigures,
  pairsOf,
  type ScoredImage,
  type SetFigures,
  setFigures,
} from "./measures/set-figures.js";
export { checkedScores, requireFiniteScores } from "./rewards/checked-scores.js";
export { featureRows } from "./rewards/feature-rows.js";
export { withGaps } from "./rewards/gap-pairs.js";
export { loadImageReward } from "./rewards/image-reward.js";
export {
  type LabelOptions,
  type LabelSummary,
  labelOf,
  labelPairs,
} from "./rewards/label-pairs.js";
export { loadReward, type RewardLoader, type RewardLoadOptions } from "./rewards/load-reward.js";
export type { Reward, RgbImage } from "./rewards/reward.js";
export {
  parseRewardSpec,
  REWARDS,
  type RewardName,
  type RewardSpec,
  splitRewardSpecs,
  splitWeightedSpecs,
} from "./rewards/reward-spec.js";
export { type PairScores, type ScoreOptions, scorePairs } from "./rewards/score-pairs.js";
export { rewardChecks } from "./verify/verify-rewards.js";
