import type { Sampler } from "./sampler.js";
import type { SamplerName, ScheduleName } from "./sampler-names.js";
import type { SchedulerConfig } from "./scheduler-config.js";
import type { LevelSpacing } from "./sigmas.js";

/** How a sampling goes. */
export interface SamplerOptions {
  steps: number;
  /** Noise that the steps add, where the sampler takes it: η of DDIM, the noise level of a flow's steps. Default 0. */
  eta?: number;
  /** Spacing of the visited levels. Default: the checkpoint's. */
  spacing?: ScheduleName;
  /** Height and width of the latents. Default: what the model was made for. */
  latentSize?: readonly [height: number, width: number];
}

/** How a checkpoint is sampled, by the config of its scheduler. Throws UserErrors (`CONFIG`) for samplers and spacings that it has not. */
export interface SamplingSchedule {
  /** As it is read. */
  readonly config: SchedulerConfig;
  /** The sampler that the checkpoint names. */
  ownSampler(): SamplerName;
  /** A plan from noise to latents. */
  sampler(name: SamplerName, options: SamplerOptions): Sampler;
  /** The spacing of levels that the config asks for with that sampler. */
  spacingOf(name: SamplerName): LevelSpacing | undefined;
}
