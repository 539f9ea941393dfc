// Whole pipelines in one file, in the naming of the original latent-diffusion code: what checkpoints are shared as.
import {
  type DType,
  noGrad,
  scope,
  storedWeights,
  type Tensor,
  UserError,
  type WeightsFile,
  warnOfUnused,
  writeSafetensors,
  zeros,
} from "@spo/torch";
import { lacksField } from "../samplers/scheduler-classes.js";
import type { SchedulerConfig } from "../samplers/scheduler-config.js";
import type { LdmModel } from "./ldm-models.js";
import { type Misfit, refuseMisfits } from "./misfits.js";
import { besideDenoiser, type KeepingOptions, place, type StoredModel } from "./model-folder.js";
import type { PipelineModels } from "./pipeline-folder.js";
import { scaledFloat8 } from "./scaled-float8.js";

/** What is known of one file that holds all models of a pipeline. */
export interface SingleFileLayout {
  /** Of the family, for messages. */
  readonly title: string;
  /** Which part is the denoiser. */
  readonly denoiser: string;
  /** Each model's prefix in the file, how its names are converted, and a model of its config without values. */
  readonly parts: Readonly<
    Record<
      string,
      {
        readonly original: { readonly prefix: string; names(config: unknown): LdmModel };
        blank(config: unknown): StoredModel;
      }
    >
  >;
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
 * configs: of each part, and of the scheduler. Throws a UserError with all names that do not fit.
 */
export function readSingleFile(
  file: WeightsFile,
  path: string,
  layout: SingleFileLayout,
  configs: Readonly<Record<string, unknown>> & { readonly scheduler: SchedulerConfig },
  placing: KeepingOptions,
): { models: PipelineModels; scheduler: SchedulerConfig } {
  const { names, unused } = partNames(file, layout, path);
  const models: Record<string, StoredModel> = {};
  for (const [part, { original, blank }] of Object.entries(layout.parts)) {
    const { prefix } = original;
    const model = blank(configs[part]);
    noGrad(() =>
      scope(() => {
        const found = names.get(part) ?? [];
        const stored = new Map(found.map((name) => [name.slice(prefix.length), file.get(name)]));
        const weights = scaledFloat8(stored);
        const converted = original.names(configs[part]).fromOriginal(weights);
        const nameInFile = (name: string): string =>
          prefix + ([...weights].find(([, x]) => x === converted.get(name))?.[0] ?? name);
        place(model, converted, path, {
          ...(part === layout.denoiser ? placing : besideDenoiser(placing)),
          onUnused: (names) => void unused.push(...names.map(nameInFile)),
        });
      }),
    );
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

/**
 * Names of each model's weights, and those of none.
 *
 * Throws a UserError that names each part of which there is nothing, and then the names of none too.
 */
function partNames(
  file: WeightsFile,
  { title, parts }: SingleFileLayout,
  path: string,
): { names: Map<string, string[]>; unused: string[] } {
  const prefixes = Object.entries(parts).map(([part, { original }]) => [part, original.prefix] as const);
  const names = new Map<string, string[]>();
  const unused: string[] = [];
  const faults: Misfit[] = [];
  for (const name of file.keys()) {
    if (NOT_WEIGHTS.some((pattern) => pattern.test(name))) continue;
    const part = prefixes.find(([, prefix]) => name.startsWith(prefix))?.[0];
    if (part) names.set(part, [...(names.get(part) ?? []), name]);
    else unused.push(name);
  }
  for (const [part, prefix] of prefixes)
    if (!names.has(part)) faults.push([`${prefix}…`, `missing: the file has no ${part}`]);
  if (faults.length > 0)
    faults.push(...unused.map((name): Misfit => [name, "belongs to no model of this family"]));
  refuseMisfits(
    `${path} is not a whole ${title} checkpoint`,
    faults,
    "Give a full checkpoint; one without VAE or text encoder must be put together first.",
  );
  return { names, unused };
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
  { parts, metadata: { architecture } }: SingleFileLayout,
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
      for (const [part, { original }] of Object.entries(parts)) {
        const model = models[part];
        if (!model) throw new Error(`saveSingleFile: ${part} is missing`);
        const weights = storedWeights(model.namedParameters(), { dtype, place: `${path} (${part})` });
        for (const [name, value] of original.names(model.config).toOriginal(weights))
          tensors.set(original.prefix + name, value);
      }
      const predictsV = scheduler?.prediction_type === "v_prediction";
      if (predictsV) tensors.set("v_pred", zeros([0]));
      if (scheduler?.rescale_betas_zero_snr) tensors.set("ztsnr", zeros([0]));
      writeSafetensors(path, tensors, {
        format: "pt",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": architecture,
        ...(scheduler && { "modelspec.prediction_type": predictsV ? "v" : "epsilon" }),
        ...metadata,
      });
    }),
  );
}
