import { scope, type Tensor } from "@spo/torch";
import { z } from "zod";
import { count } from "../config.js";
import { thresholdX0 } from "../process/bound-x0.js";
import type { GaussianStep } from "../process/gaussian.js";
import { spacedTimesteps } from "../process/timesteps.js";
import type { VpSchedule } from "../process/vp-schedule.js";
import { drawn, type Sampler, settingsOf, unsupported } from "./sampler.js";
import {
  alphaBarOf,
  LevelConfig,
  levelSpacing,
  type SigmaPlan,
  sigmaAt,
  spacedLevels,
  timestepOf,
  withFinal,
} from "./sigmas.js";

/** What the multistep solvers read of a scheduler_config.json beside the process and the levels. */
export const DpmSolverConfig = z.looseObject({
  solver_order: count(100).nullish(),
  solver_type: z.enum(["midpoint", "heun", "logrho", "bh1", "bh2"]).nullish(),
  algorithm_type: z.enum(["dpmsolver++", "sde-dpmsolver++", "dpmsolver", "sde-dpmsolver", "deis"]).nullish(),
  variance_type: z.string().nullish(),
  lower_order_final: z.boolean().nullish(),
  euler_at_final: z.boolean().nullish(),
  /** Sampling starts no lower than here: λ = ln(√ᾱ/√(1−ᾱ)). */
  lambda_min_clipped: z.custom<number>((value) => typeof value === "number").nullish(), // often −∞
});

/** The levels of a multistep solver's step, and its history. */
export interface MultistepSettings {
  sigma: number;
  sigmaNext: number;
  /** x̂0 and σ of the steps before, newest first: none makes a step of first order, one of second, two of third. */
  before?: readonly { x0: Tensor; sigma: number }[];
  /** How a second-order step takes its slope. */
  solverType?: "midpoint" | "heun";
}

/**
 * One step of DPM-Solver++, multistep, of first to third order.
 *
 * x [b, c, h, w] of unit variance; x0: the clean latents predicted at this step. λ = −ln σ, h = λ' − λ, r = h_before/h,
 * x' = (σ'_t/σ_t)·x + α'_t·(φ₁·x̂0 + …), where α_t = √ᾱ, σ_t = √(1−ᾱ) and φ₁ = 1 − e^{−h}.
 * Source: Lu et al. 2022, "DPM-Solver++", eq. 9 and algorithm 2; third order: diffusers DPMSolverMultistepScheduler.
 */
export function dpmSolverStep(x: Tensor, x0: Tensor, settings: MultistepSettings): Tensor {
  const { sigma, sigmaNext } = settings;
  return scope(() => {
    const [alpha, alphaNext] = [alphaOf(sigma), alphaOf(sigmaNext)];
    const kept = (alphaNext / alpha) * (sigmaNext / sigma);
    return x.mul(kept).add(weighedX0(x0, settings, 1), { alpha: alphaNext });
  });
}

/**
 * One step of SDE-DPM-Solver++: a Gaussian over the next x.
 *
 * As `dpmSolverStep`, with e^{−2h} in place of e^{−h}: x' = (σ'_t/σ_t)·e^{−h}·x + α'_t·(φ₁·x̂0 + …), std = σ'_t·√(1 − e^{−2h}).
 * Source: Lu et al. 2022, eq. 18 and appendix B.4.
 */
export function sdeDpmSolverStep(x: Tensor, x0: Tensor, settings: MultistepSettings): GaussianStep {
  const { sigma, sigmaNext } = settings;
  return scope(() => {
    const [alpha, alphaNext] = [alphaOf(sigma), alphaOf(sigmaNext)];
    const decay = sigmaNext / sigma; // e^{−h}
    const mean = x
      .mul((alphaNext / alpha) * decay ** 2)
      .add(weighedX0(x0, settings, 2), { alpha: alphaNext });
    return { x0, mean, std: sigmaNext * alphaNext * Math.sqrt(1 - decay ** 2) };
  });
}

/** α_t = √ᾱ of a level. */
const alphaOf = (sigma: number): number => Math.sqrt(alphaBarOf(sigma));

/**
 * φ₁·D₀ + φ₂·D₁ + φ₃·D₂: x̂0 over the step, from its value and differences in λ. `k`: 1 for the ODE, 2 for the SDE, whose exponent is k·h.
 *
 * D₀ = x̂0, D₁ = (x̂0 − x̂0_before)/r for one step before.
 */
function weighedX0(
  x0: Tensor,
  { sigma, sigmaNext, before: [first, second] = [], solverType = "midpoint" }: MultistepSettings,
  k: 1 | 2,
): Tensor {
  const h = Math.log(sigma) - Math.log(sigmaNext); // infinite where σ' is 0
  const phi1 = 1 - (sigmaNext / sigma) ** k;
  if (!first || h === 0) return x0.mul(phi1);
  const [r, kh] = [Math.log(first.sigma / sigma) / h, k * h];
  const phi2 = 1 - phi1 / kh;
  const d = x0.sub(first.x0).div(r);
  if (!second) return x0.mul(phi1).add(d, { alpha: solverType === "heun" ? phi2 : phi1 / 2 });
  const rBefore = Math.log(second.sigma / first.sigma) / h;
  const bend = d.sub(first.x0.sub(second.x0).div(rBefore)).div(r + rBefore); // D₂
  const slope = d.add(bend, { alpha: r }); // D₁
  return x0
    .mul(phi1)
    .add(slope, { alpha: phi2 })
    .add(bend, { alpha: (phi1 - kh) / kh ** 2 + 0.5 });
}

/**
 * The levels that the multistep solvers visit: at N of N + 1 spaced timesteps, or spaced over the whole range of training. Source:
 * diffusers.
 */
export function dpmSolverPlan(schedule: VpSchedule, steps: number): SigmaPlan {
  const { beta_schedule, timestep_spacing = "linspace", steps_offset: offset } = schedule.config;
  const count = schedule.trainTimesteps;
  const spacing = levelSpacing(schedule);
  if (spacing) {
    const ends = { min: schedule.sigma(0), max: schedule.sigma(count - 1) };
    const levels = spacedLevels(schedule, spacing, ends, steps);
    // Some are rounded and some cut off: as the reference has it.
    const rounded = (spacing === "karras" || spacing === "lu") && beta_schedule !== "squaredcos_cap_v2";
    // A number that is whole but for the last bits of exp and log is meant to be whole.
    const whole = rounded ? Math.round : (t: number) => Math.floor(t + 1e-9);
    const timesteps = levels.map((sigma) => whole(timestepOf(schedule, sigma)));
    return { timesteps, sigmas: withFinal(schedule, levels) };
  }
  const last = visibleTimesteps(schedule);
  if (last < 2)
    throw unsupported(
      `has lambda_min_clipped ${settingsOf(DpmSolverConfig, schedule).lambda_min_clipped}: no timestep lies above it.`,
    );
  schedule.stride(steps); // checks the number
  const timesteps =
    timestep_spacing === "trailing"
      ? spacedTimesteps(steps, timestep_spacing, { count, last, offset })
      : spacedTimesteps(steps + 1, timestep_spacing, { count, last, offset }).slice(0, steps);
  return {
    timesteps,
    sigmas: withFinal(
      schedule,
      timesteps.map((t) => sigmaAt(schedule, t)),
    ),
  };
}

/** How many timesteps of training have λ = −ln σ of at least `lambda_min_clipped`. */
function visibleTimesteps(schedule: VpSchedule): number {
  const { lambda_min_clipped: least } = settingsOf(DpmSolverConfig, schedule);
  let last = schedule.trainTimesteps;
  while (last > 0 && -Math.log(schedule.sigma(last - 1)) < (least ?? Number.NEGATIVE_INFINITY)) last--;
  return last;
}

/** Fewer steps than this end with ones of lower order. */
const FEW_STEPS = 15;

/** DPM-Solver++ over a checkpoint's schedule, of the config's order (2 where it has none); `sde`: its SDE. History: the last x̂0. */
export function dpmSolverSampler(schedule: VpSchedule, steps: number, { sde = false } = {}): Sampler {
  const config = settingsOf(DpmSolverConfig, schedule);
  const { final_sigmas_type } = settingsOf(LevelConfig, schedule);
  const { variance_type: variance } = config;
  const order = config.solver_order ?? 2;
  if (variance?.startsWith("learned"))
    throw unsupported(
      `has variance_type "${variance}": a model that predicts its own variance, of which there is none here.`,
    );
  // The reference's third-order SDE step does not converge to x as h goes to 0, so there is nothing to compare with.
  if (order > (sde ? 2 : 3))
    throw unsupported(
      `asks for solver_order ${order}, where ${sde ? "the SDE form of DPM-Solver++ has 1 and 2" : "DPM-Solver++ has 1 to 3"}.`,
      'Set "solver_order" to 2.',
    );
  const { timesteps, sigmas } = dpmSolverPlan(schedule, steps);
  const at = (i: number): number => sigmas[i] as number;
  const last = timesteps.length - 1;
  const lowers = (config.lower_order_final ?? true) && timesteps.length < FEW_STEPS;
  const firstOrderLast = (config.euler_at_final ?? false) || lowers || final_sigmas_type !== "sigma_min";
  const orderAt = (i: number): number => {
    if (i === last && firstOrderLast) return 1;
    return i === last - 1 && lowers ? Math.min(order, 2) : order;
  };
  const solverType = config.solver_type === "heun" ? "heun" : "midpoint";
  return {
    timesteps,
    sigmas,
    initialScale: 1,
    input: (x) => x,
    step: ({ x, history }, output, i, noise) =>
      scope(() => {
        const x0 = thresholdX0(schedule.x0Of(x, output, alphaBarOf(at(i))), schedule.config);
        const before = history
          .slice(0, orderAt(i) - 1)
          .map((known, age) => ({ x0: known, sigma: at(i - 1 - age) }));
        const settings = { sigma: at(i), sigmaNext: at(i + 1), before, solverType } as const;
        const next = { history: [x0, ...history].slice(0, order - 1) };
        if (!sde) return { x: dpmSolverStep(x, x0, settings), ...next };
        return { x: drawn(sdeDpmSolverStep(x, x0, settings), noise), ...next };
      }),
  };
}
