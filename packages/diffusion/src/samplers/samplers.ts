// The samplers by name.
import type { VpSchedule } from "../process/vp-schedule.js";
import { ddimSampler } from "./ddim.js";
import { dpmSolverSampler } from "./dpm-solver.js";
import { eulerSampler } from "./euler.js";
import { eulerAncestralSampler } from "./euler-ancestral.js";
import { lcmSampler } from "./lcm.js";
import { pndmSampler } from "./pndm.js";
import { type Sampler, unsupported } from "./sampler.js";
import { SAMPLERS, type SamplerName } from "./scheduler-classes.js";
import type { SchedulerConfig } from "./scheduler-config.js";

export { SAMPLERS, type SamplerName };

/** The sampler that a checkpoint names; DDIM where it names none. Throws a UserError (`CONFIG`) for one that is not here. */
export function samplerOf({
  _class_name: className,
  algorithm_type: algorithm,
}: SchedulerConfig): SamplerName {
  if (className === undefined) return "ddim";
  if (className === SAMPLERS["dpmpp-2m"] && (algorithm === "dpmsolver" || algorithm === "sde-dpmsolver"))
    throw unsupported(
      `asks for algorithm_type "${algorithm}", of which there is only the ++ form.`,
      `Set "algorithm_type" to "${algorithm}++", or choose --sampler ${algorithm === "dpmsolver" ? "dpmpp-2m" : "dpmpp-2m-sde"}.`,
    );
  if (className === SAMPLERS["dpmpp-2m-sde"] && algorithm === "sde-dpmsolver++") return "dpmpp-2m-sde";
  const found = Object.entries(SAMPLERS).find(([, theirs]) => theirs === className);
  if (found) return found[0] as SamplerName;
  throw unsupported(
    `asks for ${className}, which is not supported here.`,
    `Choose one of ${Object.keys(SAMPLERS).join(", ")}.`,
  );
}

/** eta: DDIM's spread; the others have none or their own. */
export function makeSampler(
  name: SamplerName,
  schedule: VpSchedule,
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
    case "dpmpp-2m-sde":
      return dpmSolverSampler(schedule, steps, { sde: true });
    case "pndm":
      return pndmSampler(schedule, steps);
    case "lcm":
      return lcmSampler(schedule, steps);
  }
}
