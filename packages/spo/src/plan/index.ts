export { weightsDtype } from "../recipes/training/precision.js";
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
export { dpoJob } from "./train-dpo.js";
export { spmJob } from "./train-spm.js";
export { spoJob } from "./train-spo.js";
