export { checkConfig, count, MOST, only, readJson, readJsonObject } from "./config.js";
export {
  blankModels,
  FAMILIES,
  familyOfConfigs,
  familyOfDenoiser,
  familyOfFolder,
  familyOfModels,
  familyTitles,
  readConfigs,
} from "./families/families.js";
export type {
  EncodeOptions,
  Family,
  FamilyPart,
  LoadOptions,
  LoraPart,
  PipelineConfigs,
  PipelineSource,
  TextToImage,
} from "./families/family.js";
export { Flux, type FluxParts, flux } from "./families/flux.js";
export { loadSingleFile, type SingleFileSources, saveSingleFile } from "./families/load-single-file.js";
export { type LoadTextToImageOptions, loadTextToImage } from "./families/load-text-to-image.js";
export {
  StableDiffusion,
  type StableDiffusionConfigs,
  type StableDiffusionParts,
  stableDiffusion,
} from "./families/stable-diffusion.js";
export {
  StableDiffusion3,
  type StableDiffusion3Parts,
  stableDiffusion3,
} from "./families/stable-diffusion-3.js";
export {
  StableDiffusionXL,
  type StableDiffusionXLConfigs,
  type StableDiffusionXLParts,
  stableDiffusionXL,
} from "./families/stable-diffusion-xl.js";
export { requireKnownIds, requireTextFits } from "./families/text-fits.js";
export {
  type FolderOptions,
  loadT5Encoder,
  loadTextEncoder,
  loadTextEncoderWithProjection,
  loadTransformer,
  loadUnet,
  loadVae,
  type PlaceOptions,
  readWeights,
  type StoredModel,
  saveModel,
} from "./layouts/model-folder.js";
export {
  type PipelineModels,
  type PipelineParts,
  type SaveOptions,
  savePipelineFolder,
} from "./layouts/pipeline-folder.js";
export { addLora, Lora, LoraLayer, type LoraOptions } from "./lora/lora.js";
export {
  adapterOf,
  applyAdapter,
  disposeAdapter,
  type LoraAdapter,
  type LoraWeights,
} from "./lora/lora-adapter.js";
export { addFamilyLora, loraFamily } from "./lora/lora-family.js";
export {
  isLora,
  type LoraLayoutName,
  LoraStack,
  loadLora,
  readLora,
  saveLora,
  type WriteLoraOptions,
  writeLora,
} from "./lora/lora-file.js";
export type { LoraDescription } from "./lora/lora-metadata.js";
export {
  ATTENTION_TARGETS,
  Attention,
  type Context,
  type SharedContext,
  Transformer2DModel,
} from "./models/attention.js";
export {
  AutoencoderKL,
  AutoencoderKLConfig,
  type Posterior,
  samplePosterior,
  type TilingOptions,
} from "./models/autoencoder-kl.js";
export {
  CLIPAttention,
  CLIPEncoderLayer,
  CLIPMLP,
  type ClipActivation,
  clipActivation,
  headsDivide,
} from "./models/clip-layers.js";
export {
  CLIPTextConfig,
  CLIPTextModel,
  CLIPTextModelWithProjection,
  CLIPTextTransformer,
  type ClipTextOutput,
  endOfText,
  idsTensor,
  initializeClipEmbeddings,
} from "./models/clip-text.js";
export {
  allRows,
  type Conditions,
  conditionBytes,
  disposeConditions,
  type GuidedConditions,
  joinRows,
  selectRows,
  splitRows,
} from "./models/conditions.js";
export type { DenoiserInputs, DenoiserModel, ForwardOptions } from "./models/denoiser-model.js";
export type { FlowConditions } from "./models/flow-conditions.js";
export { FluxTransformer2DConfig, FluxTransformer2DModel } from "./models/flux-transformer-2d.js";
export { type LayerCall, plainly } from "./models/layer-call.js";
export { quantizeBlocks } from "./models/quantize-blocks.js";
export { type BlockStates, SD3Backbone } from "./models/sd3-backbone.js";
export { SD3Transformer2DConfig, SD3Transformer2DModel } from "./models/sd3-transformer-2d.js";
export { T5Config, T5EncoderModel } from "./models/t5-encoder.js";
export type { Tap } from "./models/tap.js";
export { timestepEmbedding } from "./models/timestep-embedding.js";
export {
  UNet2DConditionConfig,
  UNet2DConditionModel,
  type UNetConditions,
} from "./models/unet-2d-condition.js";
export {
  type Denoiser,
  guide,
  guidedDenoiser,
  inPasses,
  isGuided,
  type Predict,
  scaleOfPromptAlone,
} from "./pipelines/denoiser.js";
export { requireFinite } from "./pipelines/finite-images.js";
export { type SampleOptions, sampleLatents } from "./pipelines/sample-latents.js";
export { dynamicThreshold } from "./process/bound-x0.js";
export { type DdimLevels, ddimGaussian, ddimStd, ddimStep } from "./process/ddim-step.js";
export { FlowConfig, type FlowGrid, FlowSchedule } from "./process/flow-schedule.js";
export { type FlowNoise, flowStep } from "./process/flow-step.js";
export { type Gaussian, type GaussianStep, gaussianLogProb, sampleGaussian } from "./process/gaussian.js";
export type { NoiseProcess, SamplingChoice, StepTimes } from "./process/noise-process.js";
export { epsFromV, epsFromX0, type PredictionType, predictX0, x0FromV } from "./process/parameterisation.js";
export type { PerRow } from "./process/per-row.js";
export { betaSigmas, exponentialSigmas, karrasSigmas } from "./process/spaced-sigmas.js";
export type { TimestepSpacing } from "./process/timesteps.js";
export { VpConfig } from "./process/vp-config.js";
export { VpSchedule } from "./process/vp-schedule.js";
export { fluxConditions } from "./prompts/flux-text.js";
export { type LoraTag, takeLoraTags } from "./prompts/lora-tags.js";
export {
  hasExplicitWeights,
  hasPromptMarks,
  type PromptSyntax,
  parsePromptWeights,
  unsupportedFeatures,
  type WeightedPart,
  type WeightedText,
} from "./prompts/prompt-weights.js";
export { type Sd3TextEncoders, type Sd3TokenIds, sd3Conditions } from "./prompts/sd3-text.js";
export { weightedStates } from "./prompts/weighted-states.js";
export { CheckpointSchedule, type SchedulerSource } from "./samplers/checkpoint-schedule.js";
export { ddimSampler } from "./samplers/ddim.js";
export {
  dpmSolverPlan,
  dpmSolverSampler,
  dpmSolverStep,
  type MultistepSettings,
  sdeDpmSolverStep,
} from "./samplers/dpm-solver.js";
export { eulerPlan, eulerSampler, eulerStep } from "./samplers/euler.js";
export { eulerAncestralSampler, eulerAncestralStep } from "./samplers/euler-ancestral.js";
export { FlowEulerSchedule } from "./samplers/flow-euler.js";
export { lcmSampler, lcmStep, lcmTimesteps } from "./samplers/lcm.js";
export { multistepOutput, pndmSampler, pndmStep } from "./samplers/pndm.js";
export type { Sampler, SamplerState } from "./samplers/sampler.js";
export {
  chooseSampler,
  requireSchedule,
  type SamplerChoice,
  SCHEDULES,
  type ScheduleName,
  WEBUI_SAMPLERS,
  WEBUI_SCHEDULES,
} from "./samplers/sampler-names.js";
export { makeSampler, SAMPLERS, type SamplerName, samplerOf } from "./samplers/samplers.js";
export type { SamplerOptions, SamplingSchedule } from "./samplers/sampling-schedule.js";
export { SchedulerConfig } from "./samplers/scheduler-config.js";
export {
  type LevelSpacing,
  levelSpacing,
  type SigmaPlan,
  sigmaAt,
  timestepOf,
} from "./samplers/sigmas.js";
export { ClipTokenizer, type ClipTokenizerOptions, loadTokenizer } from "./tokenizer/clip-tokenizer.js";
export { publishedTokenizer, saveTokenizer } from "./tokenizer/save-tokenizer.js";
export {
  loadT5Tokenizer,
  saveT5Tokenizer,
  T5Tokenizer,
  type T5TokenizerOptions,
} from "./tokenizer/t5-tokenizer.js";
export {
  checksAskedFor,
  type GoldenSet,
  missingFiles,
  openGoldenSet,
  uncheckedFiles,
} from "./verify/golden-set.js";
export { diffusionChecks, diffusionChecksOf } from "./verify/verify.js";
export { type Case, Cases, type Check, collectCases, largest, openGolden } from "./verify/verify-check.js";
export { flowGridOf } from "./verify/verify-flow-trajectory.js";
export { GOLDEN_FAMILIES, type GoldenFamily } from "./verify/verify-modules.js";
export { type FlowTransformer, loadFlowTransformer } from "./verify/verify-transformers.js";
