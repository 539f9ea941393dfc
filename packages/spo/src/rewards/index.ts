// Scorers of finished images, each from its published checkpoint's own layout.
export { checkedScores, requireFiniteScores } from "./checked-scores.js";
export {
  type LabelOptions,
  type LabelSummary,
  labelOf,
  labelPairs,
  type PairScores,
} from "./label-pairs.js";
export { loadReward, type RewardLoadOptions } from "./load-reward.js";
export { isModule } from "./own-reward.js";
export type { Reward, RgbImage } from "./reward.js";
export {
  parseRewardSpec,
  REWARDS,
  type RewardName,
  type RewardSpec,
  splitRewardSpecs,
} from "./reward-spec.js";
