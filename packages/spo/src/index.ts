export {
  type Candidates,
  type Family,
  type JudgeContext,
  type LatentShape,
  SpmJudge,
  type StepAwareJudge,
} from "./judges/judge.js";
export type { JudgeExport } from "./judges/own-judge.js";
export { RandomJudge } from "./judges/random-judge.js";
export { rewardJudge } from "./judges/reward-judge.js";
export { type PromptedCandidates, scoreJudge } from "./judges/score-judge.js";
export { type DpoLoss, dpoLoss } from "./losses/dpo-loss.js";
export {
  labelTensors,
  pairAccuracy,
  relabel,
  type SpmLoss,
  type SpmLossInput,
  spmLoss,
} from "./losses/spm-loss.js";
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
} from "./losses/spo-loss.js";
export { PASSES, type Pass } from "./records/passes.js";
export { type Comparison, compare, type MarginAmong } from "./resampler/compare.js";
export { concatPairs, type StepPairs, selectPairs } from "./resampler/pairs.js";
export {
  type CandidateStrip,
  drawn,
  type Randomness,
  type ResamplerInput,
  type ResamplerSettings,
  type Rollout,
  resample,
  type StepComparison,
} from "./resampler/resampler.js";
export {
  CLIPVisionEmbeddings,
  StepAwareEncoderLayer,
  StepAwareVisionTransformer,
  timestepSinusoid,
  type VisionConfig,
} from "./spm/clip-vision.js";
export { clipProcessor, type ScoreProcessor, scorePixels, trainPixels } from "./spm/preprocess.js";
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
} from "./spm/spm.js";
export { type NoisyPredictions, noisyPredictions, predictNoisy } from "./spm/spm-noising.js";
export { spoChecks } from "./verify/verify.js";
export { type Seconds, timed, type Work, WorkMeter } from "./work.js";
