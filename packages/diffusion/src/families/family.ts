import type { Tensor, WeightsFile } from "@spo/torch";
import type { KeepingOptions, StoredModel } from "../layouts/model-folder.js";
import type { OriginalModule } from "../layouts/original-modules.js";
import type { PipelineModels, SaveOptions } from "../layouts/pipeline-folder.js";
import type { OriginalPart } from "../layouts/single-file.js";
import type { AutoencoderKL } from "../models/autoencoder-kl.js";
import type { GuidedConditions } from "../models/conditions.js";
import type { DenoiserModel } from "../models/denoiser-model.js";
import type { NoiseProcess } from "../process/noise-process.js";
import type { PromptSyntax } from "../prompts/prompt-weights.js";
import type { SchedulerSource } from "../samplers/checkpoint-schedule.js";
import type { SamplingSchedule } from "../samplers/sampling-schedule.js";
import type { SchedulerConfig } from "../samplers/scheduler-config.js";
import type { ClipTokenizer } from "../tokenizer/clip-tokenizer.js";
import type { T5Tokenizer } from "../tokenizer/t5-tokenizer.js";

/** How a prompt is encoded. */
export interface EncodeOptions {
  /** The unconditional side of guidance. Absent: the empty text, or for SDXL zeros. */
  negativePrompt?: string;
  /** How prompts are read, the negative one too. Default plain: each letter is a letter, and what is beyond 75 tokens is cut off. */
  syntax?: PromptSyntax;
  /** Height and width of the image in pixels: SDXL is told them. */
  size: readonly [height: number, width: number];
}

/** A model that makes images of texts, of any family. */
export interface TextToImage {
  readonly family: Family;
  readonly denoiser: DenoiserModel;
  readonly vae: AutoencoderKL;
  /** The guidance scale that it is usually sampled with; 1 for a model that takes none. */
  readonly guidanceScale: number;
  /** For samplers. */
  readonly schedule: SamplingSchedule;
  /** The noise process of trainings. */
  readonly process: NoiseProcess;
  /** CLIP's tokenizer, which preference models and scorers use too; absent in a family without CLIP. */
  readonly tokenizer?: ClipTokenizer;
  /** All of its models under the names of diffusers' folders. */
  readonly models: PipelineModels;
  /** Token ids of prompts by each tokenizer, int64 [n, L]. */
  tokenize(prompts: readonly string[]): Tensor[];
  /** The denoiser's conditions for n prompts, and the unconditional ones for guidance; n rows each. */
  encode(prompts: readonly string[], options: EncodeOptions): GuidedConditions;
  /**
   * Writes the folder that `loadTextToImage` and diffusers' `from_pretrained` read, with the scheduler that it came with. Fuse adapters
   * first.
   */
  save(folder: string, options?: SaveOptions): void;
  /** The same model with another scheduler config: other betas, timesteps or kind of prediction. */
  withScheduler(config: SchedulerConfig): TextToImage;
}

/**
 * How a pipeline is placed. `dtype` is the denoiser's; text encoders and VAE are float32. `stored`: all have what their files have, to be
 * written again.
 */
export type LoadOptions = KeepingOptions;

/** The config.json of each model of a pipeline under the name of its folder, and the scheduler's. */
export interface PipelineConfigs {
  readonly [part: string]: unknown;
  readonly scheduler: SchedulerConfig;
  /** As model_index.json calls the pipeline: it decides what of the scheduler is repaired. Default: nothing is. */
  readonly pipeline?: string;
}

/** The names of a model's layers in LoRA files, beside its own names. */
export interface LoraPart {
  /** In front of a module's dotted name. */
  readonly prefixes: readonly string[];
  /** In front of a module's name with `_` for every dot, as kohya writes it; the first is what is written. */
  readonly kohyaPrefixes: readonly [string, ...string[]];
  /** All names of a model's modules: its own, and those of other code. */
  spellings(model: StoredModel): (module: string) => readonly string[];
  /** The name that kohya's trainer gives a module. Default: the model's own. */
  kohyaName?(model: StoredModel): (module: string) => string;
  /** The name of a module in the original code, by which ComfyUI knows it. Default: the model's own. */
  originalName?(model: StoredModel): (module: string) => string;
  /** The modules of the original code, where one of them may hold several of ours: files in its names have one adapter for all of them. */
  originals?(model: StoredModel): readonly OriginalModule[];
}

/** A model of a pipeline: a folder in diffusers' layout, a prefix in one file. */
export interface FamilyPart {
  /** Classes that model_index.json may name for it. */
  readonly classes: readonly string[];
  /** Whether pipelines are published without it. */
  readonly optional?: boolean;
  /** Placed in the denoiser's element type, since it is too large for float32. */
  readonly large?: boolean;
  /** A model of a config, without values. Throws a UserError for what is not supported. */
  blank(config: unknown): StoredModel;
  /** The model of a folder. Throws UserErrors for what is missing, damaged or not supported. */
  load(folder: string, options: KeepingOptions): StoredModel;
  /** A folder's config as diffusers' pipeline of that name takes it; path: of the file, for a warning. */
  repaired?(config: unknown, pipeline: string, path: string): unknown;
  /** Where its weights stand in one file of the original code. */
  readonly original: OriginalPart;
  /** Absent: no adapter changes it. */
  readonly lora?: LoraPart;
}

/** The models, tokenizers and scheduler config that a family makes a pipeline of. */
export interface PipelineSource {
  models: PipelineModels;
  /** CLIP's tokenizer by its folder; padToken: of the published one, where there is no folder. */
  tokenizer(part: string, padToken?: string): ClipTokenizer;
  /** T5's tokenizer by its folder. Throws a UserError where there is none. */
  t5Tokenizer(part: string): T5Tokenizer;
  schedulerConfig: SchedulerConfig;
  /** Where that comes from; absent: it is taken as it is. */
  schedulerSource?: SchedulerSource;
}

/**
 * Everything particular about one family of text-to-image models. Code for pipelines, files and adapters reads it here.
 *
 * To add one: a file beside this, its line in families.ts, and its models.
 */
export interface Family {
  /** In settings and records: `sd15`. */
  readonly name: string;
  /** In messages. */
  readonly title: string;
  /** diffusers' pipelines whose folders it loads, its own first. */
  readonly pipelines: readonly [string, ...string[]];
  /** Its models by their folders' names. */
  readonly parts: Readonly<Record<string, FamilyPart>>;
  /** Folders of its tokenizers, and the classes that model_index.json may name for them. */
  readonly tokenizers: Readonly<Record<string, readonly string[]>>;
  /** Those that belong to optional parts. */
  readonly optionalTokenizers?: readonly string[];
  /** Which part is the denoiser. */
  readonly denoiser: string;
  /** Of the published model. */
  readonly published: PipelineConfigs;
  /** Whether a file is as often shared with the denoiser alone: VAE and text encoders then are files of their own. */
  readonly sharedInParts?: boolean;
  /** How diffusers saves adapters of its denoiser: a UNet's as `lora.down`, a transformer's as `lora_A`. */
  readonly loraMatrices: "lora.down" | "lora_A";
  /** Ends of the names of the denoiser's layers that a LoRA adapts by default. */
  readonly loraTargets: readonly string[];
  /** Values for the metadata of its files. Source: Stability's ModelSpec 1.0.1; sd-scripts, sai_model_spec.py. */
  readonly metadata: {
    /** `modelspec.architecture` of a checkpoint; a LoRA's has `/lora` behind. */
    readonly architecture: string;
    readonly implementation: string;
    readonly resolution: readonly [width: number, height: number];
    readonly baseModelVersion: string;
  };
  /** Whether a denoiser is one of its own. */
  isDenoiser(model: StoredModel): boolean;
  /** Whether a checkpoint in one file is of its architecture, whatever the sizes. */
  isSingleFile(file: WeightsFile): boolean;
  /** The configs of such a file, which does not say them of itself; undefined where it is of no published model's sizes. */
  configsOf(file: WeightsFile): PipelineConfigs | undefined;
  /** Whether a LoRA fits its published model, judging by names and shapes in the file. */
  isLora(file: WeightsFile): boolean;
  /** Loads a folder in diffusers layout. Throws UserErrors for what is missing, damaged or of another family. */
  load(folder: string, options?: LoadOptions): TextToImage;
  /** Puts a pipeline together. */
  assemble(source: PipelineSource): TextToImage;
}
