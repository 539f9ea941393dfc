import type { z } from "zod";
import { FlowConfig } from "../process/flow-schedule.js";
import { VpConfig } from "../process/vp-config.js";
import { DpmSolverConfig } from "./dpm-solver.js";
import { EulerConfig } from "./euler.js";
import { LcmConfig } from "./lcm.js";
import { PndmConfig } from "./pndm.js";
import { LevelConfig } from "./sigmas.js";

/**
 * A scheduler_config.json: the process, and what each sampler reads beside it.
 *
 * A sampler reads the fields that diffusers' class of its name has, and passes over the others, as diffusers does when one class is made of
 * another's config.
 */
export const SchedulerConfig = VpConfig.safeExtend({
  ...FlowConfig.shape,
  ...LevelConfig.shape,
  ...EulerConfig.shape,
  ...DpmSolverConfig.shape,
  ...PndmConfig.shape,
  ...LcmConfig.shape,
});
export type SchedulerConfig = z.input<typeof SchedulerConfig>;
