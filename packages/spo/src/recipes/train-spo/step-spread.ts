import type { NoiseProcess } from "@spo/diffusion";
import { UserError } from "@spo/torch";

/**
 * Throws a UserError (`CONFIG`) where sampling has a step without spread, as Stable Diffusion's from timestep 0: there is nothing to choose
 * between, and no density. Source: algorithm 2, σ with ᾱ_t = ᾱ_prev.
 */
export function requireSpread(
  process: NoiseProcess,
  { steps, eta = 1 }: { steps: number; eta?: number },
): void {
  const still = process
    .timesteps(steps)
    .find((t) => process.std({ t, previous: process.previousTimestep(t, steps), eta }) === 0);
  if (still === undefined) return;
  throw new UserError(
    `Sampling with ${steps} steps has one from timestep ${still}, which has no spread and cannot be trained on.`,
    {
      code: "CONFIG",
      hint: "Set steps_offset to 1 in the model's scheduler_config.json, as the published configs of Stable Diffusion and SDXL have it.",
    },
  );
}
