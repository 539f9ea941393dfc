import { z } from "zod";

/** The most timesteps of training. Published models have 1,000, and a few 4,000. */
export const MOST_TIMESTEPS = 100_000;

/**
 * The part of a scheduler_config.json that says how images are noised and what is predicted. Absent values are those of Stable Diffusion.
 */
export const VpConfig = z
  .looseObject({
    _class_name: z.string().optional(),
    num_train_timesteps: z.int().min(2).max(MOST_TIMESTEPS).default(1000),
    beta_start: z.number().positive().lt(1).default(0.00085),
    beta_end: z.number().positive().lt(1).default(0.012),
    beta_schedule: z.enum(["scaled_linear", "linear", "squaredcos_cap_v2"]).default("scaled_linear"),
    /** β of each timestep, in place of a `beta_schedule`. */
    trained_betas: z.array(z.number().positive().lt(1)).nullish(),
    /** Whether training went up to noise alone: ᾱ is shifted and scaled so that its last is 0. */
    rescale_betas_zero_snr: z.boolean().nullish(),
    prediction_type: z.enum(["epsilon", "v_prediction", "sample"]).default("epsilon"),
    /** Absent: "leading" for DDIM and PNDM, "linspace" for the samplers over sigmas, as diffusers has it. */
    timestep_spacing: z.enum(["leading", "linspace", "trailing"]).optional(),
    steps_offset: z.int().min(0).max(MOST_TIMESTEPS).default(1),
    set_alpha_to_one: z.boolean().default(false),
    // Bounds of x̂0.
    clip_sample: z.boolean().nullish(),
    clip_sample_range: z.number().positive().max(1e6).nullish(),
    thresholding: z.boolean().nullish(),
    dynamic_thresholding_ratio: z.number().min(0).max(1).nullish(),
    sample_max_value: z.number().min(1).max(1e6).nullish(),
  })
  .superRefine(({ trained_betas: betas, num_train_timesteps: timesteps, steps_offset: offset }, context) => {
    const fault = (path: string, message: string): void =>
      context.addIssue({ code: "custom", path: [path], message });
    if (betas && betas.length !== timesteps)
      fault("trained_betas", `has ${betas.length} values, num_train_timesteps is ${timesteps}`);
    if (offset >= timesteps)
      fault("steps_offset", `is ${offset}, and there are ${timesteps} timesteps, counted from 0`);
  });
export type VpConfig = z.input<typeof VpConfig>;
