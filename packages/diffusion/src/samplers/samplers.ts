// The samplers by name.
import { UserError } from "@spo/torch";
import { ddimSampler } from "./ddim.js";
import { dpmSolverSampler } from "./dpm-solver.js";
import { eulerSampler } from "./euler.js";
import { eulerAncestralSampler } from "./euler-ancestral.js";
import type { NoiseSchedule, SchedulerConfig } from "./noise-schedule.js";
import { pndmSampler } from "./pndm.js";
import type { Sampler } from "./sampler.js";

/** Names of samplers, and how the others call them in a scheduler_config.json. */
export const SAMPLERS = {
  ddim: "DDIMScheduler",
  euler: "EulerDiscreteScheduler",
  "euler-ancestral": "EulerAncestralDiscreteScheduler",
  "dpmpp-2m": "DPMSolverMultistepScheduler",
  pndm: "PNDMScheduler",
} as const;

/** A sampler by its name on the command line. */
export type SamplerName = keyof typeof SAMPLERS;

/** The sampler that a checkpoint names; DDIM where it names none. Throws a UserError (`CONFIG`) for one that is not here. */
export function samplerOf({ _class_name: className }: SchedulerConfig): SamplerName {
  if (className === undefined) return "ddim";
  const found = Object.entries(SAMPLERS).find(([, theirs]) => theirs === className);
  if (found) return found[0] as SamplerName;
  throw new UserError(`scheduler_config.json asks for ${className}, which is not supported here.`, {
    code: "CONFIG",
    hint: `Choose one of ${Object.keys(SAMPLERS).join(", ")}.`,
  });
}

/** eta: DDIM's spread; the others have none or their own. */
export function makeSampler(
  name: SamplerName,
  schedule: NoiseSchedule,
  steps: number,
  { eta = 0 }: { eta?: number } = {},
): Sampler {
  switch (name) {
    case "ddim":
      return ddimSampler(schedule, steps, { eta });
    case "euler":
      return eulerSampler(schedule, steps);
    case "euler-ancestral":
      return eulerAncestralSampler(schedule, steps);
    case "dpmpp-2m":
      return dpmSolverSampler(schedule, steps);
    case "pndm":
      return pndmSampler(schedule, steps);
  }
}
