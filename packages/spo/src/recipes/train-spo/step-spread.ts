import type { NoiseSchedule } from "@spo/diffusion";
import { UserError } from "@spo/torch";

/**
 * Throws a UserError (`CONFIG`) where sampling ends with a step from timestep 0: it has no spread, so nothing to choose between, and no
 * density. Source: algorithm 2, σ with ᾱ_t = ᾱ_prev.
 */
export function requireSpread(schedule: NoiseSchedule, steps: number): void {
  if (!schedule.timesteps(steps).includes(0)) return;
  throw new UserError(
    `The model's scheduler_config.json has steps_offset ${schedule.config.steps_offset}: sampling ends with a step from timestep 0, which has no spread and cannot be trained on.`,
    {
      code: "CONFIG",
      hint: "Set steps_offset to 1 there, as the published configs of Stable Diffusion and SDXL have it.",
    },
  );
}
