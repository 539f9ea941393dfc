import type { NoiseProcess } from "@spo/diffusion";
import { UserError } from "@spo/torch";
import { branchRange, type RolloutSettings } from "../../rollout/rollout.js";

/**
 * Throws a UserError (`CONFIG`) where candidates would take a step without spread, as Stable Diffusion's from timestep 0: there is nothing
 * to choose between, and no density. Source: algorithm 2, σ with ᾱ_t = ᾱ_prev.
 */
export function requireSpread(
  process: NoiseProcess,
  settings: Pick<RolloutSettings, "steps" | "eta" | "firstBranch" | "lastBranch" | "innerSteps">,
): void {
  const { steps, eta = 1 } = settings;
  const { first, end } = branchRange(settings);
  const still = process
    .timesteps(steps)
    .slice(first, end)
    .find((t) => process.std({ t, previous: process.previousTimestep(t, steps), eta }) === 0);
  if (still === undefined) return;
  throw new UserError(
    `Sampling with ${steps} steps has one from timestep ${still}, which has no spread and cannot be trained on.`,
    {
      code: "CONFIG",
      hint: "End the branches before it by lastBranch. Of Stable Diffusion and SDXL, set steps_offset to 1 in the model's scheduler_config.json, as the published configs of Stable Diffusion and SDXL have it.",
    },
  );
}
