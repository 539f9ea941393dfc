// Noise levels as σ = √((1−ᾱ)/ᾱ), the spread of the noise over a clean part of unit scale. Source: Karras et al. 2022, table 1 and eq. 5.
import type { NoiseSchedule } from "./noise-schedule.js";

/** The noise levels that a sampler visits. */
export interface SigmaPlan {
  /** One a model call, largest first. */
  timesteps: number[];
  /** The same, and the level after the last step, which is 0 unless the config has `final_sigmas_type: "sigma_min"`. */
  sigmas: number[];
}

/** σ at a timestep between those of training, linearly. float32, as the references hold it. */
export function sigmaAt(schedule: NoiseSchedule, t: number): number {
  const below = Math.min(Math.floor(t), schedule.config.num_train_timesteps - 1);
  const share = t - below;
  const sigma = schedule.sigma(below);
  return Math.fround(share === 0 ? sigma : sigma + share * (schedule.sigma(below + 1) - sigma));
}

/** σ_i = (σ_max^{1/ρ} + i/(n−1)·(σ_min^{1/ρ} − σ_max^{1/ρ}))^ρ. Source: Karras et al. 2022, eq. 5. */
export function karrasSigmas(
  { min, max }: { min: number; max: number },
  n: number,
  { rho = 7 } = {},
): number[] {
  const [high, low] = [max ** (1 / rho), min ** (1 / rho)];
  return Array.from({ length: n }, (_, i) => (high + (n === 1 ? 0 : i / (n - 1)) * (low - high)) ** rho);
}

/** The timestep whose σ it is, linearly in log σ between those of training. */
export function timestepOf(schedule: NoiseSchedule, sigma: number): number {
  const last = schedule.config.num_train_timesteps - 1;
  let below = 0;
  let above = last;
  while (above - below > 1) {
    const middle = (below + above) >> 1;
    if (schedule.sigma(middle) <= sigma) below = middle;
    else above = middle;
  }
  const logOf = (t: number): number => Math.fround(Math.log(schedule.sigma(t)));
  const [low, high] = [logOf(below), logOf(below + 1)]; // float32, and so is their difference
  return below + Math.min(1, Math.max(0, (low - Math.log(sigma)) / Math.fround(low - high)));
}

/** Completes visited levels with the one after the last. */
export function withFinal(schedule: NoiseSchedule, sigmas: readonly number[]): number[] {
  const final = schedule.config.final_sigmas_type === "sigma_min" ? schedule.sigma(0) : 0;
  return [...sigmas.map(Math.fround), final];
}

/** Largest and smallest level of a Karras plan: the config's, or else the given ones. */
export function karrasRange(
  { config }: NoiseSchedule,
  { min, max }: { min: number; max: number },
): { min: number; max: number } {
  return { min: config.sigma_min ?? min, max: config.sigma_max ?? max };
}

/** ᾱ of a level: 1/(1 + σ²). */
export const alphaBarOf = (sigma: number): number => 1 / (1 + sigma ** 2);
