export type {
  CandidateScorer,
  Candidates,
  JudgeContext,
  LatentShape,
  StepAwareJudge,
} from "./judges/judge.js";
export { loadReward } from "./judges/load-reward.js";
export { type JudgeChoice, openJudge } from "./judges/open-judge.js";
export type { JudgeExport } from "./judges/own-judge.js";
export { RandomJudge } from "./judges/random-judge.js";
export { rewardJudge } from "./judges/reward-judge.js";
export { type PromptedCandidates, scoreJudge } from "./judges/score-judge.js";
export { SpmJudge } from "./judges/spm-judge.js";
export { type DpoLoss, dpoLoss } from "./objectives/dpo-loss.js";
export { type Resampled, resample } from "./objectives/resample.js";
export {
  labelTensors,
  pairAccuracy,
  relabel,
  type SpmLoss,
  type SpmLossInput,
  spmLoss,
} from "./objectives/spm-loss.js";
export {
  backward,
  type PairLogProbs,
  pairLogProbs,
  type RatioFigures,
  ratioFigures,
  type SpoBatch,
  type SpoLoss,
  spoBatchLoss,
  spoLoss,
} from "./objectives/spo-loss.js";
export { concatPairs, type StepPairs, selectPairs, stepPairs } from "./objectives/step-pairs.js";
export { type Comparison, compare, type MarginSoftmax } from "./rollout/compare.js";
export { drawn, type Randomness } from "./rollout/randomness.js";
export { type Rollout, type RolloutInput, type RolloutSettings, rollout } from "./rollout/rollout.js";
export { type JudgedSampling, type JudgedSteps, sampleByJudge } from "./rollout/sample-by-judge.js";
export { type ThresholdBy, thresholdsByNoise } from "./rollout/thresholds.js";
export type { CandidateStrip, Segment, StepComparison, Transition } from "./rollout/transitions.js";
export {
  StepAwareEncoderLayer,
  StepAwareVisionTransformer,
  timestepSinusoid,
} from "./spm/clip-vision.js";
export { DinaLrm, DinaLrmConfig } from "./spm/dina-lrm.js";
export { isDinaFolder, loadDinaLrm, saveDinaLrm } from "./spm/dina-lrm-files.js";
export { DinaPreferenceModel } from "./spm/dina-preference-model.js";
export { LatentPreferenceModel } from "./spm/latent-preference-model.js";
export {
  LatentRewardModel,
  type LatentRewardParts,
  type LatentRewardSettings,
  type LatentTexts,
  PUBLISHED_LRM,
} from "./spm/latent-reward-model.js";
export { LatentSpace, latentSpaceOf, publishedLatentSpace, requireSameSpace } from "./spm/latent-space.js";
export { isLrmFolder, type LrmOptions, loadLrm, saveLrm } from "./spm/lrm-files.js";
export {
  type EncodePrompts,
  openPreferenceModel,
  startPreferenceModel,
} from "./spm/open-preference-model.js";
export { PixelPreferenceModel } from "./spm/pixel-preference-model.js";
export { type PreferenceModel, type Sight, type Texts, textRows } from "./spm/preference-model.js";
export {
  fromClip,
  initializeTimeConditioning,
  isTimeConditioning,
  loadSpm,
  type SpmConfig,
  type SpmConfigInput,
  StepAwarePreferenceModel,
  saveSpm,
  startSpm,
} from "./spm/spm.js";
export { type NoisyPredictions, noisyPredictions, predictNoisy } from "./spm/spm-noising.js";
export { spoChecks } from "./verify/verify.js";
