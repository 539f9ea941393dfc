export { Attention, type Context, type SharedContext, Transformer2DModel } from "./attention.js";
export {
  AutoencoderKL,
  AutoencoderKLConfig,
  type Posterior,
  samplePosterior,
  type TilingOptions,
} from "./autoencoder-kl.js";
export {
  CLIPAttention,
  CLIPEncoderLayer,
  CLIPMLP,
  type ClipActivation,
  clipActivation,
} from "./clip-layers.js";
export {
  CLIPTextConfig,
  CLIPTextModel,
  CLIPTextModelWithProjection,
  CLIPTextTransformer,
  type ClipTextOutput,
  endOfText,
  idsTensor,
  initializeClipEmbeddings,
} from "./clip-text.js";
export { ClipTokenizer, type ClipTokenizerOptions, loadTokenizer } from "./clip-tokenizer.js";
export { checkConfig, only, readJson } from "./config.js";
export {
  ddimSampler,
  ddimStd,
  ddimStep,
  epsFromV,
  type GaussianStep,
  gaussianLogProb,
  predictX0,
} from "./ddim.js";
export { dpmSolverPlan, dpmSolverSampler, dpmSolverStep } from "./dpm-solver.js";
export { eulerPlan, eulerSampler, eulerStep } from "./euler.js";
export { eulerAncestralSampler, eulerAncestralStep } from "./euler-ancestral.js";
export { type Conditions, type GuidedConditions, guide, guidedOutput } from "./guidance.js";
export { type LayerCall, plainly } from "./layer-call.js";
export { type LoadTextToImageOptions, loadTextToImage } from "./load-text-to-image.js";
export { ATTENTION_TARGETS, addLora, Lora, LoraLayer, type LoraOptions } from "./lora.js";
export {
  adapterOf,
  applyAdapter,
  disposeAdapter,
  type LoraAdapter,
  type LoraParts,
  type LoraWeights,
} from "./lora-adapter.js";
export { blankLoraParts, loraFamily } from "./lora-family.js";
export {
  isLora,
  type LoraLayoutName,
  LoraStack,
  loadLora,
  readLora,
  saveLora,
  type WriteLoraOptions,
  writeLora,
} from "./lora-file.js";
export type { LoraDescription, LoraFamily } from "./lora-metadata.js";
export {
  type FolderOptions,
  loadTextEncoder,
  loadTextEncoderWithProjection,
  loadUnet,
  loadVae,
  type PlaceOptions,
  readWeights,
  saveModel,
} from "./model-folder.js";
export { NoiseSchedule, SchedulerConfig, type TimestepSpacing } from "./noise-schedule.js";
export { type PipelineParts, type SaveOptions, savePipelineFolder } from "./pipeline-folder.js";
export { multistepOutput, pndmSampler, pndmStep } from "./pndm.js";
export { type PipelineConfigs, PUBLISHED } from "./published-configs.js";
export { defaultLatentSize, type SampleOptions, sampleLatents } from "./sample-latents.js";
export type { Sampler, SamplerState } from "./sampler.js";
export { makeSampler, SAMPLERS, type SamplerName, samplerOf } from "./samplers.js";
export { publishedTokenizer, saveTokenizer } from "./save-tokenizer.js";
export { karrasSigmas, type SigmaPlan, sigmaAt, timestepOf } from "./sigmas.js";
export { loadSingleFile, type PipelineModels, saveSingleFile } from "./single-file.js";
export { StableDiffusion, type StableDiffusionParts } from "./stable-diffusion.js";
export { StableDiffusionXL, type StableDiffusionXLParts } from "./stable-diffusion-xl.js";
export type { EncodeOptions, LoadOptions, TextToImage } from "./text-to-image.js";
export type { Tap } from "./unet-2d-blocks.js";
export {
  type AddedConditions,
  timestepEmbedding,
  UNet2DConditionConfig,
  UNet2DConditionModel,
} from "./unet-2d-condition.js";
export { diffusionChecks } from "./verify.js";
export { type Case, Cases, type Check, collectCases, largest, openGolden } from "./verify-check.js";
