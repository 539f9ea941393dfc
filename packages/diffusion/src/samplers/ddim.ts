import type { VpSchedule } from "../process/vp-schedule.js";
import { gaussianSampler, refuseNoiseAlone, type Sampler } from "./sampler.js";

/** DDIM over a checkpoint's schedule: η = 0 is deterministic, 1 has as much noise as DDPM. */
export function ddimSampler(schedule: VpSchedule, steps: number, { eta = 0 } = {}): Sampler {
  const timesteps = schedule.timesteps(steps);
  const stride = schedule.stride(steps);
  refuseNoiseAlone(schedule, timesteps);
  return gaussianSampler(timesteps, (x, output, i) => {
    const t = timesteps[i] as number;
    return schedule.step(x, output, { t, previous: t - stride, eta });
  });
}
