// Whole pipelines in one file, in the naming of the original code: what checkpoints are shared as. Some are shared as a file a model.
import {
  type DType,
  noGrad,
  openWeights,
  scope,
  storedWeights,
  type Tensor,
  UserError,
  type WeightsFile,
  warnOfUnused,
  writeSafetensors,
  zeros,
} from "@spo/torch";
import { lacksField, predictionWord } from "../samplers/scheduler-classes.js";
import type { SchedulerConfig } from "../samplers/scheduler-config.js";
import type { LdmModel } from "./ldm-models.js";
import { type Misfit, refuseMisfits } from "./misfits.js";
import { besideDenoiser, type KeepingOptions, place, type StoredModel } from "./model-folder.js";
import type { PipelineModels } from "./pipeline-folder.js";
import { scaledFloat8 } from "./scaled-float8.js";

/** Where a model's weights stand in one file of the original code. */
export interface OriginalPart {
  /** In front of each name, as it is written. */
  readonly prefix: string;
  /** Other prefixes that files have. */
  readonly alsoRead?: readonly string[];
  /** The names of its weights where they have no prefix; `written`: as a file of that model alone has them. */
  readonly bare?: { readonly pattern: RegExp; readonly written: boolean };
  /** The conversion of names for a config. */
  names(config: unknown): LdmModel;
}

/** A model in such a file. */
export interface SingleFilePart {
  readonly original: OriginalPart;
  /** Whether pipelines go without it. */
  readonly optional?: boolean;
  /** Placed in the denoiser's element type, since it is too large for float32. */
  readonly large?: boolean;
  /** A model of its config without values. */
  blank(config: unknown): StoredModel;
}

/** What is known of one file that holds the models of a pipeline. */
export interface SingleFileLayout {
  /** Of the family, for messages. */
  readonly title: string;
  /** Which part is the denoiser. */
  readonly denoiser: string;
  readonly parts: Readonly<Record<string, SingleFilePart>>;
  /** Whether a file may hold the denoiser alone. */
  readonly sharedInParts?: boolean;
  readonly metadata: { readonly architecture: string };
}

/** Entries of published files that are no weights: the training code's noise schedule and counters, averages of weights, buffers. */
const NOT_WEIGHTS: readonly RegExp[] = [
  /^[^.]+$/, // a buffer of the training wrapper: betas, alphas_cumprod, global_step
  /^model_ema\./,
  /^denoiser\./,
  /^first_stage_model\.(loss|model_ema)\./,
  /\.position_ids$/,
  /\.logit_scale$/,
  /\.attn_mask$/,
];

/**
 * The models of a file, and its scheduler's config: that of the configs, changed by what the file marks of its prediction.
 *
 * configs: of each part, and of the scheduler. elsewhere: loads a part that the file does not hold; undefined where nothing gives it.
 * Throws a UserError with all names that do not fit, and with each part that is nowhere.
 */
export function readSingleFile(
  file: WeightsFile,
  path: string,
  layout: SingleFileLayout,
  configs: Readonly<Record<string, unknown>> & { readonly scheduler: SchedulerConfig },
  placing: KeepingOptions,
  elsewhere: (part: string) => (() => StoredModel) | undefined = () => undefined,
): { models: PipelineModels; scheduler: SchedulerConfig } {
  const { names, unused } = partNames(file, layout);
  const given = new Map(
    Object.keys(layout.parts).flatMap((part) => {
      const load = names.has(part) ? undefined : elsewhere(part);
      return load ? [[part, load] as const] : [];
    }),
  );
  refuseMissing(path, layout, new Set([...names.keys(), ...given.keys()]), unused);
  const models: Record<string, StoredModel> = {};
  for (const [part, { blank }] of Object.entries(layout.parts)) {
    const own = names.get(part);
    if (!own) {
      const load = given.get(part);
      if (load) models[part] = load();
      continue;
    }
    const model = blank(configs[part]);
    const inFile = fill(model, file, own, layout, { part, config: configs[part], path, placing });
    unused.push(...inFile);
    models[part] = model;
  }
  warnOfUnused(path, unused);
  // Fine-tuners mark a change of the prediction by an empty entry.
  const scheduler: SchedulerConfig = {
    ...configs.scheduler,
    ...(file.has("v_pred") && { prediction_type: "v_prediction" as const }),
    ...(file.has("ztsnr") && withZeroSnr(configs.scheduler)),
  };
  return { models, scheduler };
}

/**
 * One model of a pipeline, in a file of its own: in the names of the original code, with or without a prefix, or in the model's own.
 *
 * Throws a UserError with all names that do not fit.
 */
export function readPartFile(
  path: string,
  layout: SingleFileLayout,
  part: string,
  config: unknown,
  placing: KeepingOptions,
): StoredModel {
  using file = openWeights(path);
  const { original, blank } = layout.parts[part] as SingleFilePart;
  const keys = file.keys();
  const prefix = prefixesOf(original).find((each) => keys.some((name) => name.startsWith(each))) ?? "";
  const own = new Map(
    keys
      .filter((name) => name.startsWith(prefix) && !isNoWeight(name))
      .map((name) => [name, name.slice(prefix.length)]),
  );
  const model = blank(config);
  warnOfUnused(path, fill(model, file, own, layout, { part, config, path, placing }));
  return model;
}

/** Gives a model its weights, named as [in the file, without prefix]; returns the names in the file that it does not have. */
function fill(
  model: StoredModel,
  file: WeightsFile,
  names: ReadonlyMap<string, string>,
  { parts, denoiser }: SingleFileLayout,
  { part, config, path, placing }: { part: string; config: unknown; path: string; placing: KeepingOptions },
): string[] {
  const { original, large } = parts[part] as SingleFilePart;
  const unused: string[] = [];
  noGrad(() =>
    scope(() => {
      const stored = new Map([...names].map(([name, own]) => [own, file.get(name)]));
      const weights = scaledFloat8(stored);
      const converted = original.names(config).fromOriginal(weights);
      const inFile = new Map([...names].map(([name, own]) => [own, name]));
      const nameInFile = (name: string): string => {
        const own = [...weights].find(([, x]) => x === converted.get(name))?.[0] ?? name;
        return inFile.get(own) ?? own;
      };
      place(model, converted, path, {
        ...(part === denoiser || large ? placing : besideDenoiser(placing)),
        onUnused: (names) => void unused.push(...names.map(nameInFile)),
      });
    }),
  );
  return unused;
}

/** A scheduler whose last timestep is noise alone: of a class that cannot have that, as PNDM, Euler takes the place. */
const withZeroSnr = ({ _class_name: name }: SchedulerConfig): SchedulerConfig => ({
  rescale_betas_zero_snr: true,
  ...(lacksField(name, "rescale_betas_zero_snr") && { _class_name: "EulerDiscreteScheduler" }),
});

/** Entries that mark a denoiser which is asked in another way, and what that is. A file with one loads, and its images would be wrong. */
const OTHER_FORMULATIONS: Readonly<Record<string, string>> = {
  edm_mean: "EDM's scaling of latents, as Playground v2.5 has it",
  edm_std: "EDM's scaling of latents, as Playground v2.5 has it",
  "edm_vpred.sigma_max": "EDM's noise levels with v-prediction, as CosXL has them",
  "edm_vpred.sigma_min": "EDM's noise levels with v-prediction, as CosXL has them",
};

/** Throws a UserError (`DATA`) for a denoiser that is asked in another way than Stable Diffusion's. */
export function refuseOtherFormulations(file: WeightsFile, path: string): void {
  const mark = Object.keys(OTHER_FORMULATIONS).find((name) => file.has(name));
  if (mark === undefined) return;
  throw new UserError(
    `${path} was trained with ${OTHER_FORMULATIONS[mark]} (${mark}), which is not supported.`,
    {
      code: "DATA",
      hint: "Supported are models that predict noise or v in Stable Diffusion's own noise levels.",
    },
  );
}

const prefixesOf = ({ prefix, alsoRead = [] }: OriginalPart): string[] => [prefix, ...alsoRead];

const isNoWeight = (name: string): boolean => NOT_WEIGHTS.some((pattern) => pattern.test(name));

/** Names of each model's weights, in the file and without prefix, and the names of no model. */
function partNames(
  file: WeightsFile,
  { parts }: SingleFileLayout,
): { names: Map<string, Map<string, string>>; unused: string[] } {
  const names = new Map<string, Map<string, string>>();
  const unused: string[] = [];
  const put = (part: string, name: string, own: string): void => {
    names.set(part, (names.get(part) ?? new Map()).set(name, own));
  };
  const originals = Object.entries(parts).map(([part, { original }]) => [part, original] as const);
  const prefixes = originals.flatMap(([part, original]) =>
    prefixesOf(original).map((prefix) => [part, prefix] as const),
  );
  for (const name of file.keys()) {
    const bare = originals.find(([, { bare }]) => bare?.pattern.test(name))?.[0];
    const [part, prefix] = prefixes.find(([, prefix]) => name.startsWith(prefix)) ?? [];
    if (bare !== undefined) put(bare, name, name);
    else if (isNoWeight(name)) continue;
    else if (part !== undefined && prefix !== undefined) put(part, name, name.slice(prefix.length));
    else unused.push(name);
  }
  return { names, unused };
}

/** Throws a UserError that names each part that is nowhere, and then the names of none too. */
function refuseMissing(
  path: string,
  { title, parts, sharedInParts }: SingleFileLayout,
  present: ReadonlySet<string>,
  unused: readonly string[],
): void {
  const missing = Object.entries(parts).filter(([part, { optional }]) => !optional && !present.has(part));
  if (missing.length === 0) return;
  const faults = missing.map(
    ([part, { original }]): Misfit => [`${original.prefix}…`, `missing: the file has no ${part}`],
  );
  faults.push(...unused.map((name): Misfit => [name, "belongs to no model of this family"]));
  const files = missing.map(([part]) => `--part ${part}=FILE`).join(" ");
  refuseMisfits(
    `${path} is not a whole ${title} checkpoint`,
    faults,
    sharedInParts
      ? `Give what it lacks: ${files}, or --configs FOLDER, a pipeline's folder in diffusers layout that holds it.`
      : "Give a full checkpoint; one without VAE or text encoder must be put together first.",
  );
}

/** How a file is written. */
export interface SingleFileOptions {
  /** Default: the models' own. */
  dtype?: DType;
  /** One that predicts v, or whose last timestep is noise alone, is marked by the empty entries that fine-tuners use. */
  scheduler?: SchedulerConfig;
  metadata?: Readonly<Record<string, string>>;
}

/** Writes a file whole or not at all; see `saveSingleFile`. */
export function writeSingleFile(
  path: string,
  models: PipelineModels,
  { parts, denoiser, sharedInParts, metadata: { architecture } }: SingleFileLayout,
  { dtype, scheduler, metadata = {} }: SingleFileOptions,
): void {
  if (scheduler?.prediction_type === "sample")
    throw new UserError(
      'A model with prediction_type "sample" cannot be one file: readers would take its output for noise.',
      {
        code: "CONFIG",
        hint: "Write it as a folder.",
      },
    );
  noGrad(() =>
    scope(() => {
      const tensors = new Map<string, Tensor>();
      const isAlone = Object.keys(models).join() === denoiser;
      for (const [part, { original, optional }] of Object.entries(parts)) {
        const model = models[part];
        if (!model && (optional || sharedInParts)) continue;
        if (!model) throw new Error(`saveSingleFile: ${part} is missing`);
        const prefix = isAlone && original.bare?.written ? "" : original.prefix;
        const weights = storedWeights(model.namedParameters(), { dtype, place: `${path} (${part})` });
        for (const [name, value] of original.names(model.config).toOriginal(weights))
          tensors.set(prefix + name, value);
      }
      const prediction = scheduler && predictionWord(scheduler);
      if (prediction === "v") tensors.set("v_pred", zeros([0]));
      if (scheduler?.rescale_betas_zero_snr) tensors.set("ztsnr", zeros([0]));
      writeSafetensors(path, tensors, {
        format: "pt",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": architecture,
        ...(prediction && { "modelspec.prediction_type": prediction }),
        ...metadata,
      });
    }),
  );
}
