// The fields that diffusers' scheduler classes read of a scheduler_config.json, and their defaults. Source: diffusers 0.42, `__init__`.
import type { SchedulerConfig } from "./scheduler-config.js";

const NOISE = {
  num_train_timesteps: 1000,
  beta_start: 0.0001,
  beta_end: 0.02,
  beta_schedule: "linear",
  trained_betas: null,
  prediction_type: "epsilon",
  steps_offset: 0,
} as const satisfies SchedulerConfig;

const BOUNDS = {
  thresholding: false,
  dynamic_thresholding_ratio: 0.995,
  sample_max_value: 1,
} as const satisfies SchedulerConfig;

const LEVELS = {
  use_karras_sigmas: false,
  use_exponential_sigmas: false,
  use_beta_sigmas: false,
  final_sigmas_type: "zero",
  rescale_betas_zero_snr: false,
  timestep_spacing: "linspace",
} as const satisfies SchedulerConfig;

/** The class of flow models. */
export const FLOW_CLASS = "FlowMatchEulerDiscreteScheduler";

/** By class: each field that it reads, with the value that it has where the file has none. */
export const SCHEDULER_CLASSES = {
  DDIMScheduler: {
    ...NOISE,
    ...BOUNDS,
    clip_sample: true,
    clip_sample_range: 1,
    set_alpha_to_one: true,
    timestep_spacing: "leading",
    rescale_betas_zero_snr: false,
  },
  PNDMScheduler: {
    ...NOISE,
    skip_prk_steps: false,
    set_alpha_to_one: false,
    timestep_spacing: "leading",
  },
  LCMScheduler: {
    ...NOISE,
    ...BOUNDS,
    beta_start: 0.00085,
    beta_end: 0.012,
    beta_schedule: "scaled_linear",
    original_inference_steps: 50,
    clip_sample: false,
    clip_sample_range: 1,
    set_alpha_to_one: true,
    timestep_spacing: "leading",
    timestep_scaling: 10,
    rescale_betas_zero_snr: false,
  },
  EulerDiscreteScheduler: {
    ...NOISE,
    ...LEVELS,
    interpolation_type: "linear",
    sigma_min: null,
    sigma_max: null,
    timestep_type: "discrete",
  },
  EulerAncestralDiscreteScheduler: {
    ...NOISE,
    timestep_spacing: "linspace",
    rescale_betas_zero_snr: false,
  },
  DPMSolverMultistepScheduler: {
    ...NOISE,
    ...BOUNDS,
    ...LEVELS,
    solver_order: 2,
    algorithm_type: "dpmsolver++",
    solver_type: "midpoint",
    lower_order_final: true,
    euler_at_final: false,
    use_lu_lambdas: false,
    use_flow_sigmas: false,
    lambda_min_clipped: Number.NEGATIVE_INFINITY,
    variance_type: null,
  },
  [FLOW_CLASS]: {
    num_train_timesteps: 1000,
    shift: 1,
    use_dynamic_shifting: false,
    base_shift: 0.5,
    max_shift: 1.15,
    base_image_seq_len: 256,
    max_image_seq_len: 4096,
    invert_sigmas: false,
    shift_terminal: null,
    use_karras_sigmas: false,
    use_exponential_sigmas: false,
    use_beta_sigmas: false,
    time_shift_type: "exponential",
    stochastic_sampling: false,
  },
} as const satisfies Readonly<Record<string, SchedulerConfig>>;

/** A scheduler of diffusers that is here. */
export type SchedulerClass = keyof typeof SCHEDULER_CLASSES;

/** `modelspec.prediction_type` of a model with that scheduler; undefined for a flow model, for which the specification has no word. */
export function predictionWord({
  _class_name: name,
  prediction_type: type,
}: SchedulerConfig): "epsilon" | "v" | undefined {
  if (name === FLOW_CLASS) return undefined;
  return type === "v_prediction" ? "v" : "epsilon";
}

export const isSchedulerClass = (name: string): name is SchedulerClass =>
  Object.hasOwn(SCHEDULER_CLASSES, name);

/**
 * A config as a class reads it, whichever class has written it: its own fields alone, and its own values where the file has none.
 *
 * Source: diffusers `ConfigMixin.from_config`.
 */
export function readAs(config: SchedulerConfig, name: SchedulerClass): SchedulerConfig {
  const own = Object.entries(SCHEDULER_CLASSES[name]).map(([field, value]) => [
    field,
    config[field] === undefined ? value : config[field],
  ]);
  return { _class_name: name, ...Object.fromEntries(own) };
}

/** Whether a class does not read a field of its config; false for a class that is not here. */
export const lacksField = (name: string | undefined, field: string): boolean =>
  name !== undefined && isSchedulerClass(name) && !Object.hasOwn(SCHEDULER_CLASSES[name], field);

/** Fields that no class of diffusers for these models reads: it tells of them and passes over them. */
export function unknownFields(config: SchedulerConfig): string[] {
  return Object.keys(config).filter(
    (field) =>
      !field.startsWith("_") &&
      !FURTHER_FIELDS.has(field) &&
      !Object.values(SCHEDULER_CLASSES).some((fields) => Object.hasOwn(fields, field)),
  );
}

/** Fields of classes that are not here: DDPM, Heun, LMS, UniPC, DEIS, the single-step DPM-Solver, EDM. */
const FURTHER_FIELDS = new Set([
  ...["disable_corrector", "predict_x0", "solver_p", "flow_shift"],
  ...["noise_sampler_seed", "sigma_data", "sigma_schedule", "rho"],
]);

/** Names of samplers, and how diffusers calls them in a scheduler_config.json. */
export const SAMPLERS = {
  ddim: "DDIMScheduler",
  euler: "EulerDiscreteScheduler",
  "euler-ancestral": "EulerAncestralDiscreteScheduler",
  "dpmpp-2m": "DPMSolverMultistepScheduler",
  "dpmpp-2m-sde": "DPMSolverMultistepScheduler",
  pndm: "PNDMScheduler",
  lcm: "LCMScheduler",
} as const satisfies Readonly<Record<string, SchedulerClass>>;

/** A sampler by its name on the command line. */
export type SamplerName = keyof typeof SAMPLERS;
