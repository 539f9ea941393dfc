import { warn } from "@spo/torch/warnings";
import { NoiseSchedule, type SchedulerConfig, spaced } from "./noise-schedule.js";
import type { ScheduleName } from "./sampler-names.js";
import { isSchedulerClass, readAs, SAMPLERS, type SamplerName } from "./scheduler-classes.js";

/** Where a checkpoint's scheduler comes from. */
export interface SchedulerSource {
  /** As model_index.json calls the pipeline: it decides what of the config is repaired. */
  pipeline: string;
  /** The file, for a warning of what is repaired. Absent: none is given. */
  path?: string;
}

/**
 * The schedule of a checkpoint, whose config means what diffusers makes of it.
 *
 * A field that the file lacks has the value of the class that reads it: the checkpoint's own class, and for another sampler that one's. Then
 * the pipeline repairs what it repairs.
 */
export class CheckpointSchedule extends NoiseSchedule {
  readonly #file: SchedulerConfig;
  readonly #source: SchedulerSource;
  readonly #made = new Map<string, NoiseSchedule>();

  /** file: as it was read, its `_class_name` the class that the pipeline makes of it. Throws a UserError (`CONFIG`) for a value that cannot be. */
  constructor(file: SchedulerConfig, source: SchedulerSource) {
    const { _class_name: name = "DDIMScheduler" } = file;
    // Of a class that is not here the noise is read as most classes read it.
    const read = isSchedulerClass(name)
      ? readAs(file, name)
      : { ...readAs(file, "EulerDiscreteScheduler"), ...file };
    const { config, repairs } = repaired(read, source.pipeline);
    super(config);
    this.#file = file;
    this.#source = source;
    if (source.path !== undefined && repairs.length > 0)
      warn(
        `${source.path}: ${repairs.join(", and ")}, as diffusers' ${source.pipeline} does. Write it so into the file.`,
      );
  }

  override for(sampler: SamplerName, spacing?: ScheduleName): NoiseSchedule {
    const name = SAMPLERS[sampler];
    const key = `${name} ${spacing ?? ""}`;
    const known = this.#made.get(key);
    if (known) return known;
    const { config } = repaired(readAs(this.#file, name), this.#source.pipeline);
    const made = new NoiseSchedule(spacing === undefined ? config : spaced(config, spacing));
    this.#made.set(key, made);
    return made;
  }
}

/** What a pipeline's constructor sets otherwise than the scheduler's config says. Source: diffusers StableDiffusionPipeline; SDXL's has none. */
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
