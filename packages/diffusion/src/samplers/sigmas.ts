// Noise levels as σ = √((1−ᾱ)/ᾱ), the spread of the noise over a clean part of unit scale. Source: Karras et al. 2022, table 1 and eq. 5.
import { z } from "zod";
import { only } from "../config.js";
import { betaSigmas, exponentialSigmas, karrasSigmas } from "../process/spaced-sigmas.js";
import type { VpSchedule } from "../process/vp-schedule.js";
import { settingsOf, unsupported } from "./sampler.js";

/** What the samplers over noise levels read of a scheduler_config.json beside the process. */
export const LevelConfig = z.looseObject({
  use_karras_sigmas: z.boolean().nullish(),
  use_exponential_sigmas: z.boolean().nullish(),
  use_beta_sigmas: z.boolean().nullish(),
  use_lu_lambdas: z.boolean().nullish(),
  use_flow_sigmas: only(false),
  sigma_min: z.number().positive().max(1e6).nullish(),
  sigma_max: z.number().positive().max(1e6).nullish(),
  final_sigmas_type: z.enum(["zero", "sigma_min"]).nullish(),
});

/** The noise levels that a sampler visits. */
export interface SigmaPlan {
  /** One a model call, largest first. */
  timesteps: number[];
  /** The same, and the level after the last step, which is 0 unless the config has `final_sigmas_type: "sigma_min"`. */
  sigmas: number[];
}

/** σ at a timestep between those of training, linearly; beyond the last it is that one's. float32, as the references hold it. */
export function sigmaAt(schedule: VpSchedule, t: number): number {
  const last = schedule.trainTimesteps - 1;
  const below = Math.min(Math.floor(t), last);
  const share = below === last ? 0 : t - below;
  const sigma = schedule.sigma(below);
  return Math.fround(share === 0 ? sigma : sigma + share * (schedule.sigma(below + 1) - sigma));
}

/**
 * The timestep whose σ it is, linearly in log σ between those of training. Where σ falls on the way, as it does just before a zero terminal
 * SNR that is written as 4096, the latest timestep counts, as it does in the references.
 */
export function timestepOf(schedule: VpSchedule, sigma: number): number {
  const logOf = (t: number): number => Math.fround(Math.log(schedule.sigma(t)));
  const log = Math.log(sigma);
  const last = schedule.trainTimesteps - 1;
  let below = last;
  while (below > 0 && logOf(below) > log) below--;
  below = Math.min(below, last - 1);
  const [low, high] = [logOf(below), logOf(below + 1)]; // float32, and so is their difference
  return below + Math.min(1, Math.max(0, (low - log) / Math.fround(low - high)));
}

/** Completes visited levels with the one after the last. */
export function withFinal(schedule: VpSchedule, sigmas: readonly number[]): number[] {
  const { final_sigmas_type: type } = settingsOf(LevelConfig, schedule);
  const final = type === "sigma_min" ? schedule.sigma(0) : 0;
  return [...sigmas.map(Math.fround), final];
}

/** How the levels lie where the config says so, instead of at spaced timesteps. */
export type LevelSpacing = "karras" | "exponential" | "beta" | "lu";

/** The spacing of levels that a config asks for. Throws a UserError (`CONFIG`) when it asks for several. */
export function levelSpacing(schedule: VpSchedule): LevelSpacing | undefined {
  const config = settingsOf(LevelConfig, schedule);
  const fields: Record<LevelSpacing, boolean | null | undefined> = {
    karras: config.use_karras_sigmas,
    exponential: config.use_exponential_sigmas,
    beta: config.use_beta_sigmas,
    lu: config.use_lu_lambdas,
  };
  const asked = (Object.keys(fields) as LevelSpacing[]).filter((name) => fields[name]);
  if (asked.length > 1) {
    throw unsupported(
      `asks for ${asked.map((name) => (name === "lu" ? "use_lu_lambdas" : `use_${name}_sigmas`)).join(" and ")} at once.`,
      "Keep one of them.",
    );
  }
  return asked[0];
}

/** N levels from the largest to the smallest: the config's, or else the given ones. */
export function spacedLevels(
  schedule: VpSchedule,
  spacing: LevelSpacing,
  ends: { min: number; max: number },
  n: number,
): number[] {
  const config = settingsOf(LevelConfig, schedule);
  const range = { min: config.sigma_min ?? ends.min, max: config.sigma_max ?? ends.max };
  switch (spacing) {
    case "karras":
      return karrasSigmas(range, n);
    case "exponential":
      return exponentialSigmas(range, n);
    case "beta":
      return betaSigmas(range, n);
    case "lu":
      return exponentialSigmas(ends, n, Math.fround); // the reference has float32 logarithms here
  }
}

/** ᾱ of a level: 1/(1 + σ²). */
export const alphaBarOf = (sigma: number): number => 1 / (1 + sigma ** 2);
