import { warn } from "@spo/torch/warnings";
import { checkConfig } from "../config.js";
import { VpSchedule } from "../process/vp-schedule.js";
import { type Sampler, unsupported } from "./sampler.js";
import { type ScheduleName, spaced } from "./sampler-names.js";
import { makeSampler, samplerOf } from "./samplers.js";
import type { SamplerOptions, SamplingSchedule } from "./sampling-schedule.js";
import { FLOW_CLASS, isSchedulerClass, readAs, SAMPLERS, type SamplerName } from "./scheduler-classes.js";
import { SchedulerConfig } from "./scheduler-config.js";
import { type LevelSpacing, levelSpacing } from "./sigmas.js";

/** Where a checkpoint's scheduler comes from. */
export interface SchedulerSource {
  /** As model_index.json calls the pipeline: it decides what of the config is repaired. */
  pipeline: string;
  /** The file, for a warning of what is repaired. Absent: none is given. */
  path?: string;
}

/**
 * The process of a checkpoint, by the config of its scheduler: as the scheduler's own class reads it, or as a sampler's does.
 *
 * A config from a file means what diffusers makes of it: a field that it lacks has the value of the class that reads it. Then the pipeline
 * repairs what it repairs.
 */
export class CheckpointSchedule extends VpSchedule implements SamplingSchedule {
  readonly #file: SchedulerConfig;
  readonly #source?: SchedulerSource;
  readonly #made = new Map<string, VpSchedule>();

  /**
   * file: as it was read, its `_class_name` the class that the pipeline makes of it. source: absent for a config that was given by hand,
   * which is taken as it is. Throws a UserError (`CONFIG`) for a value that cannot be.
   */
  constructor(file: SchedulerConfig = {}, source?: SchedulerSource) {
    checkConfig(SchedulerConfig, file, "scheduler_config.json");
    if (file._class_name === FLOW_CLASS)
      throw unsupported(
        `asks for ${FLOW_CLASS}, which is for flow models.`,
        "Give the config of a scheduler of this model.",
      );
    const { config, repairs } = source
      ? repaired(readAsOwn(file), source.pipeline)
      : { config: file, repairs: [] };
    super(config);
    this.#file = file;
    this.#source = source;
    if (source?.path !== undefined && repairs.length > 0)
      warn(
        `${source.path}: ${repairs.join(", and ")}, as diffusers' ${source.pipeline} does. Write it so into the file.`,
      );
  }

  ownSampler(): SamplerName {
    return samplerOf(this.config);
  }

  sampler(name: SamplerName, { steps, eta, spacing }: SamplerOptions): Sampler {
    return makeSampler(name, this.for(name, spacing), steps, { eta });
  }

  spacingOf(name: SamplerName): LevelSpacing | undefined {
    return levelSpacing(this.for(name));
  }

  /** The process as a sampler's class reads the config. spacing: the spacing of the visited levels, in place of the config's. */
  for(sampler: SamplerName, spacing?: ScheduleName): VpSchedule {
    const name = SAMPLERS[sampler];
    const key = `${name} ${spacing ?? ""}`;
    const known = this.#made.get(key);
    if (known) return known;
    const config = this.#source
      ? repaired(readAs(this.#file, name), this.#source.pipeline).config
      : this.#file;
    const made = new VpSchedule(spacing === undefined ? config : spaced(config, spacing));
    this.#made.set(key, made);
    return made;
  }
}

/** A config as its own class reads it. For an unknown class the noise is read as most classes read it. */
function readAsOwn(file: SchedulerConfig): SchedulerConfig {
  const { _class_name: name = "DDIMScheduler" } = file;
  return isSchedulerClass(name) ? readAs(file, name) : { ...readAs(file, "EulerDiscreteScheduler"), ...file };
}

/** Repairs of the scheduler's config by a pipeline's constructor. Source: diffusers StableDiffusionPipeline; SDXL's has none. */
function repaired(config: SchedulerConfig, pipeline: string): { config: SchedulerConfig; repairs: string[] } {
  if (pipeline !== "StableDiffusionPipeline") return { config, repairs: [] };
  const repairs: string[] = [];
  const { steps_offset: offset, clip_sample: clips } = config;
  if (offset !== 1) repairs.push(`steps_offset ${offset} is read as 1`);
  if (clips === true) repairs.push("clip_sample true is read as false");
  return {
    config: { ...config, steps_offset: 1, ...(clips === true && { clip_sample: false }) },
    repairs,
  };
}
