import { type FlowConfig, type FlowGrid, FlowSchedule } from "../process/flow-schedule.js";
import { gaussianSampler, type Sampler, unsupported } from "./sampler.js";
import type { SamplerName } from "./sampler-names.js";
import type { SamplerOptions, SamplingSchedule } from "./sampling-schedule.js";
import { FLOW_CLASS } from "./scheduler-classes.js";
import type { SchedulerConfig } from "./scheduler-config.js";
import type { LevelSpacing } from "./sigmas.js";

/** The spacings that flow models have, and the field that asks for each. */
const SPACINGS = {
  karras: "use_karras_sigmas",
  exponential: "use_exponential_sigmas",
  beta: "use_beta_sigmas",
} as const satisfies Partial<Record<LevelSpacing, keyof FlowConfig>>;

type FlowSpacing = keyof typeof SPACINGS;

/**
 * Euler over a flow model's levels: x ← x + (σ' − σ)·v; with a noise level (η), its steps of Flow-SDE.
 *
 * Source: diffusers FlowMatchEulerDiscreteScheduler; Liu et al. 2025 (Flow-GRPO), eq. 9.
 */
export class FlowEulerSchedule implements SamplingSchedule {
  /** The noise process of the same config. */
  readonly process: FlowSchedule;
  readonly config: SchedulerConfig;
  readonly #grid: FlowGrid;

  /** Throws a UserError (`CONFIG`) for a scheduler of another class, or a value that is not supported. */
  constructor(config: SchedulerConfig, grid: FlowGrid) {
    const { _class_name: name = FLOW_CLASS } = config;
    if (name !== FLOW_CLASS)
      throw unsupported(
        `asks for ${name}; a flow model goes by ${FLOW_CLASS}.`,
        "Give the published config.",
      );
    this.process = new FlowSchedule(config, grid);
    this.config = config;
    this.#grid = grid;
  }

  ownSampler(): SamplerName {
    return "euler";
  }

  spacingOf(): LevelSpacing | undefined {
    return (Object.keys(SPACINGS) as FlowSpacing[]).find((name) => this.process.config[SPACINGS[name]]);
  }

  sampler(name: SamplerName, { steps, eta = 0, spacing, latentSize }: SamplerOptions): Sampler {
    if (name !== "euler")
      throw unsupported(
        `is of a flow model, which the sampler ${name} cannot follow.`,
        "Choose --sampler euler.",
      );
    const process = this.#spaced(spacing).forSampling({ latentSize });
    const timesteps = process.timesteps(steps);
    return {
      ...gaussianSampler(timesteps, (x, output, i) =>
        process.step(x, output, { t: timesteps[i] as number, previous: timesteps[i + 1] ?? 0, eta }),
      ),
      sigmas: process.sigmas(steps),
    };
  }

  #spaced(spacing: SamplerOptions["spacing"]): FlowSchedule {
    if (spacing === undefined) return this.process;
    if (!Object.hasOwn(SPACINGS, spacing))
      throw unsupported(
        `is of a flow model, which has no schedule ${spacing}.`,
        `There are ${Object.keys(SPACINGS).join(", ")}; without one its own levels are taken.`,
      );
    const asked = Object.entries(SPACINGS).map(([name, field]) => [field, name === spacing]);
    return new FlowSchedule({ ...this.config, ...Object.fromEntries(asked) }, this.#grid);
  }
}
