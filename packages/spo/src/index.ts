export {
  CLIPVisionEmbeddings,
  StepAwareEncoderLayer,
  StepAwareVisionTransformer,
  timestepSinusoid,
  type VisionConfig,
} from "./clip-vision.js";
export { type Comparison, compare, type MarginAmong } from "./compare.js";
export { type Denoiser, guidedDenoiser, type PredictNoise } from "./denoiser.js";
export { type DpoLoss, dpoLoss } from "./dpo-loss.js";
export {
  type Candidates,
  type Family,
  type JudgeContext,
  type LatentShape,
  SpmJudge,
  type StepAwareJudge,
} from "./judge.js";
export type { JudgeExport } from "./own-judge.js";
export { concatPairs, type StepPairs, selectPairs } from "./pairs.js";
export { clipProcessor, type ScoreProcessor, scorePixels, trainPixels } from "./preprocess.js";
export { RandomJudge } from "./random-judge.js";
export {
  type CandidateStrip,
  drawn,
  type Randomness,
  type ResamplerInput,
  type ResamplerSettings,
  type Rollout,
  resample,
  type StepComparison,
} from "./resampler.js";
export { rewardJudge } from "./reward-judge.js";
export { type PromptedCandidates, scoreJudge } from "./score-judge.js";
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
  unit,
} from "./spm.js";
export { labelTensors, pairAccuracy, relabel, type SpmLoss, type SpmLossInput, spmLoss } from "./spm-loss.js";
export { type NoisyPredictions, noisyPredictions, predictNoisy } from "./spm-noising.js";
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
} from "./spo-loss.js";
export { spoChecks } from "./verify.js";
export { PASSES, type Pass, type Seconds, timed, type Work, WorkMeter } from "./work.js";
