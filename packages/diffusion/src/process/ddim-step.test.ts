import { Generator, randn, scope, type Tensor } from "@spo/torch";
import fc from "fast-check";
import { expect, test } from "vitest";
import { ddimStep } from "./ddim-step.js";
import { gaussianLogProb } from "./gaussian.js";
import { epsFromV, predictX0 } from "./parameterisation.js";
import { VpSchedule } from "./vp-schedule.js";

const schedule = new VpSchedule();
const timestep = fc.integer({ min: 1, max: 999 });
const draw = (seed: number, shape = [2, 3, 4, 5]): Tensor => randn(shape, { generator: new Generator(seed) });
const farthest = (a: Tensor, b: Tensor): number => a.sub(b).abs().max().item();

test("x̂0 by the ε that made x_t is x0", () => {
  fc.assert(
    fc.property(timestep, fc.nat(), (t, seed) =>
      scope(() => {
        const alphaBar = schedule.alphaBar(t);
        const [x0, eps] = [draw(seed), draw(seed + 1)];
        const xt = x0.mul(Math.sqrt(alphaBar)).add(eps, { alpha: Math.sqrt(1 - alphaBar) });
        expect(farthest(predictX0(xt, eps, alphaBar), x0)).toBeLessThan(1e-6 / Math.sqrt(alphaBar));
      }),
    ),
    { numRuns: 30 },
  );
});

test("ε by the v that made it is ε", () => {
  fc.assert(
    fc.property(timestep, fc.nat(), (t, seed) =>
      scope(() => {
        const alphaBar = schedule.alphaBar(t);
        const [a, s] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
        const [x0, eps] = [draw(seed), draw(seed + 1)];
        const v = eps.mul(a).sub(x0, { alpha: s });
        expect(farthest(epsFromV(x0.mul(a).add(eps, { alpha: s }), v, alphaBar), eps)).toBeLessThan(2e-6);
      }),
    ),
    { numRuns: 30 },
  );
});

test("a step with η = 0 has no spread, and one with η > 0 has the mean and spread of a chain that keeps the marginals", () => {
  fc.assert(
    fc.property(timestep, fc.double({ min: 0, max: 1, noNaN: true }), fc.nat(), (t, eta, seed) =>
      scope(() => {
        const [alphaBar, alphaBarPrev] = [schedule.alphaBar(t), schedule.alphaBar(Math.max(t - 50, 0))];
        const [x0, eps] = [draw(seed), draw(seed + 1)];
        const xt = x0.mul(Math.sqrt(alphaBar)).add(eps, { alpha: Math.sqrt(1 - alphaBar) });
        const step = ddimStep(xt, eps, { alphaBar, alphaBarPrev, eta });
        const std = step.std as number;
        if (eta === 0) expect(std).toBe(0);
        // The mean's share of ε and the fresh noise together have the variance 1 − ᾱ' of the next marginal.
        const share = Math.sqrt(1 - alphaBarPrev - std ** 2);
        const wanted = x0.mul(Math.sqrt(alphaBarPrev)).add(eps, { alpha: share });
        expect(farthest(step.mean, wanted)).toBeLessThan(2e-5);
        expect(std).toBeLessThanOrEqual(Math.sqrt(1 - alphaBarPrev) + 1e-12);
      }),
    ),
    { numRuns: 30 },
  );
});

test("the log-density falls with the squared distance from the mean, and does not grow with the size of x", () => {
  scope(() => {
    const mean = draw(1);
    const at = (distance: number) => gaussianLogProb(mean.add(distance), { mean, std: 0.5 }).toNumbers();
    const peak = -Math.log(0.5) - 0.5 * Math.log(2 * Math.PI);
    for (const value of at(0)) expect(value).toBeCloseTo(peak, 6);
    for (const value of at(1)) expect(value).toBeCloseTo(peak - 2, 5);
    const large = draw(1, [2, 3, 16, 20]);
    for (const value of gaussianLogProb(large.add(1), { mean: large, std: 0.5 }).toNumbers())
      expect(value).toBeCloseTo(peak - 2, 5);
  });
});
