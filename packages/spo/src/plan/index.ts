export { weightsDtype } from "../recipes/training/precision.js";
export { type Fit, fitInto, type Saved, type Saving } from "./fit.js";
export {
  type Job,
  type Measurement,
  measureJob,
  type PhasePlan,
  type Plan,
  planJob,
} from "./job.js";
export { giveValues, type PlannedModels, pipelineConfigs, planModels, preferenceConfig } from "./models.js";
export { type SamplingSettings, samplingJob } from "./sampling.js";
export { dpoSavings, type SampleSizes, type Side, sampleSavings, spmSavings, spoSavings } from "./savings.js";
export { dpoJob } from "./train-dpo.js";
export { spmJob } from "./train-spm.js";
export { spoJob } from "./train-spo.js";
