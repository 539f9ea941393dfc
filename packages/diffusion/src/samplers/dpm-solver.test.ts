import { Generator, randn, scope, type Tensor } from "@spo/torch";
import fc from "fast-check";
import { expect, test } from "vitest";
import { ddimStep } from "../process/ddim-step.js";
import { predictX0 } from "../process/parameterisation.js";
import { VpSchedule } from "../process/vp-schedule.js";
import { dpmSolverPlan, dpmSolverStep, sdeDpmSolverStep } from "./dpm-solver.js";
import { alphaBarOf } from "./sigmas.js";

const schedule = new VpSchedule();
const draw = (seed: number): Tensor => randn([2, 3, 4, 5], { generator: new Generator(seed) });
const farthest = (a: Tensor, b: Tensor): number => a.sub(b).abs().max().item();
/** Two timesteps, the later one first. */
const pair = fc
  .uniqueArray(fc.integer({ min: 0, max: 999 }), { minLength: 2, maxLength: 2 })
  .map((both) => both.sort((a, b) => b - a) as [number, number]);
/** Falling levels. */
const levels = (n: number) =>
  fc
    .uniqueArray(fc.integer({ min: -24, max: 24 }), { minLength: n, maxLength: n })
    .map((lambdas) => lambdas.sort((a, b) => a - b).map((each) => Math.exp(-each / 8)));

test("a step of first order is DDIM's with η = 0", () => {
  fc.assert(
    fc.property(pair, fc.nat(), ([t, end], seed) =>
      scope(() => {
        const [x, eps] = [draw(seed), draw(seed + 1)];
        const [alphaBar, alphaBarPrev] = [schedule.alphaBar(t), schedule.alphaBar(end)];
        const { mean } = ddimStep(x, eps, { alphaBar, alphaBarPrev, eta: 0 });
        const x0 = predictX0(x, eps, alphaBar);
        const solved = dpmSolverStep(x, x0, { sigma: schedule.sigma(t), sigmaNext: schedule.sigma(end) });
        expect(farthest(solved, mean)).toBeLessThan(2e-5);
      }),
    ),
  );
});

test("a step of Heun's slope or of third order is exact where x̂0 is linear in λ: two short ones are a long one", () => {
  fc.assert(
    fc.property(levels(5), fc.constantFrom(2, 3), fc.nat(), (sigmas, order, seed) =>
      scope(() => {
        const [x, base, slope] = [draw(seed), draw(seed + 1), draw(seed + 2)];
        const x0At = (sigma: number): Tensor => base.add(slope, { alpha: -Math.log(sigma) });
        const known = sigmas.map((sigma) => ({ sigma, x0: x0At(sigma) })) as [
          ...{ sigma: number; x0: Tensor }[],
        ];
        const step = (from: Tensor, at: number, to: number): Tensor => {
          const { sigma, x0 } = known[at] as { sigma: number; x0: Tensor };
          const before = known
            .slice(0, at)
            .reverse()
            .slice(0, order - 1);
          return dpmSolverStep(from, x0, {
            sigma,
            sigmaNext: sigmas[to] as number,
            before,
            solverType: "heun",
          });
        };
        expect(farthest(step(step(x, 2, 3), 3, 4), step(x, 2, 4))).toBeLessThan(2e-4);
      }),
    ),
  );
});

test("a step of the SDE keeps the marginals: its share of ε and its spread make the next level", () => {
  fc.assert(
    fc.property(pair, fc.nat(), ([t, end], seed) =>
      scope(() => {
        const [x0, eps] = [draw(seed), draw(seed + 1)];
        const [sigma, sigmaNext] = [schedule.sigma(t), schedule.sigma(end)];
        const [now, next] = [alphaBarOf(sigma), alphaBarOf(sigmaNext)];
        const xt = x0.mul(Math.sqrt(now)).add(eps, { alpha: Math.sqrt(1 - now) });
        const { mean, std } = sdeDpmSolverStep(xt, x0, { sigma, sigmaNext });
        const share = Math.sqrt(1 - next - (std as number) ** 2);
        const wanted = x0.mul(Math.sqrt(next)).add(eps, { alpha: share });
        expect(farthest(mean, wanted)).toBeLessThan(2e-5);
      }),
    ),
  );
});

test.each([
  ["linear", [999, 600, 0]],
  ["squaredcos_cap_v2", [999, 875, 0]],
] as const)(
  "Lu's levels of a %s schedule of zero terminal SNR begin at its last timestep",
  (beta_schedule, timesteps) => {
    const zero = new VpSchedule({
      beta_schedule,
      beta_start: 1e-4,
      beta_end: 0.02,
      rescale_betas_zero_snr: true,
      use_lu_lambdas: true,
    });
    expect(dpmSolverPlan(zero, 3).timesteps).toEqual(timesteps); // diffusers' DPMSolverMultistepScheduler
  },
);
