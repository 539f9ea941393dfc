// What holds for every noise process, by whichever steps it goes.
import { Generator, randn, scope, type Tensor } from "@spo/torch";
import { describe, expect, test } from "vitest";
import { FlowSchedule } from "./flow-schedule.js";
import { gaussianLogProb, sampleGaussian } from "./gaussian.js";
import type { NoiseProcess } from "./noise-process.js";
import { VpSchedule } from "./vp-schedule.js";

const GRID = { spacing: "training", patch: 2, latentSize: [8, 8] } as const;
const flow = new FlowSchedule({ shift: 3 }, GRID);

const PROCESSES: Readonly<Record<string, NoiseProcess>> = {
  "variance preserving, ε": new VpSchedule(),
  "variance preserving, v": new VpSchedule({ prediction_type: "v_prediction", rescale_betas_zero_snr: true }),
  "variance preserving, x_0": new VpSchedule({
    prediction_type: "sample",
    beta_schedule: "squaredcos_cap_v2",
  }),
  "flow, shifted": flow,
  "flow of constant noise": flow.forSampling({ stepNoise: "constant-sde" }),
  "flow by coefficients-preserving steps": flow.forSampling({ stepNoise: "cps" }),
  "flow, shifted by the image's size": new FlowSchedule(
    { use_dynamic_shifting: true },
    { ...GRID, spacing: "whole", latentSize: [64, 64] },
  ),
  "variance preserving, bounded": new VpSchedule({ clip_sample: true, clip_sample_range: 9 }),
};

const STEPS = 20;
const ROWS = 4;

describe.each(Object.entries(PROCESSES))("%s", (_, process) => {
  const draw = (seed: number): Tensor => randn([ROWS, 2, 3, 5], { generator: new Generator(seed) });
  const visited = process.timesteps(STEPS);
  /** From nearly nothing but noise to nearly none: one timestep a row. */
  const t = [0, 6, 13, 18].map((i) => visited[i] as number);
  const previous = t.map((each) => process.previousTimestep(each, STEPS));
  const row = (of: Tensor, i: number): Tensor => of.narrow(0, i, 1);
  const farthest = (a: Tensor, b: Tensor): number => a.sub(b).abs().max().item();
  const expectClose = (found: Tensor, wanted: Tensor, tolerance = 1e-6): void => {
    expect(found.shape).toEqual(wanted.shape);
    expect(farthest(found, wanted)).toBeLessThan(tolerance * Math.max(1, wanted.abs().max().item()));
  };

  test("sampling visits as many timesteps as it has steps, from much noise to little, each step to one below", () => {
    expect(visited).toHaveLength(STEPS);
    expect(visited).toEqual([...visited].sort((a, b) => b - a));
    expect(new Set(visited).size).toBe(STEPS);
    for (const each of visited) {
      expect(each).toBeGreaterThanOrEqual(0);
      expect(each).toBeLessThanOrEqual(process.trainTimesteps);
      expect(process.previousTimestep(each, STEPS)).toBeLessThan(each);
    }
    for (const wrong of [0, -1, 2.5, process.trainTimesteps + 1])
      expect(() => process.timesteps(wrong)).toThrow(expect.objectContaining({ code: "CONFIG" }));
  });

  test("timesteps of training depend on the generator alone, and stay below where they are told to", () => {
    const times = process.drawTimesteps(2000, new Generator(5));
    expect(process.drawTimesteps(2000, new Generator(5))).toEqual(times);
    expect(process.drawTimesteps(2000, new Generator(6))).not.toEqual(times);
    expect(Math.min(...times)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...times)).toBeLessThanOrEqual(process.trainTimesteps);
    expect(Math.max(...times)).toBeGreaterThan(0.95 * process.trainTimesteps);
    expect(Math.max(...process.drawTimesteps(2000, new Generator(5), 10))).toBeLessThan(10);
  });

  test("a model that puts out the target is understood to mean the x_0 and the noise that made x_t", () =>
    scope(() => {
      const [x0, noise] = [draw(1), draw(2)];
      const xt = process.addNoise(x0, noise, t);
      const found = process.predict(xt, process.target(x0, noise, t), t);
      expectClose(found.x0, x0, 2e-5); // at little signal it is divided by little
      expectClose(found.eps, noise, 2e-5);
    }));

  test("without noise added a step goes from x_t to the x of the same x_0 and noise at the timestep that it ends at", () =>
    scope(() => {
      const [x0, noise] = [draw(1), draw(2)];
      const xt = process.addNoise(x0, noise, t);
      const { mean, std } = process.step(xt, process.target(x0, noise, t), { t, previous, eta: 0 });
      expect(std).toEqual(t.map(() => 0));
      expectClose(mean, process.addNoise(x0, noise, previous), 2e-5);
    }));

  test("what is computed for rows of different timesteps is what each row has alone", () =>
    scope(() => {
      const [x, output, noise] = [draw(1), draw(2), draw(3)];
      const times = { t, previous, eta: 0.8 };
      const all = {
        noisy: process.addNoise(x, noise, t),
        target: process.target(x, noise, t),
        predicted: process.predict(x, output, t),
        step: process.step(x, output, times),
        density: process.density(x, output, times),
        std: process.std(times) as number[],
      };
      for (const i of t.keys()) {
        const one = [row(x, i), row(output, i), row(noise, i)] as const;
        const [now, then] = [t[i] as number, previous[i] as number];
        const alone = { t: now, previous: then, eta: 0.8 };
        expectClose(row(all.noisy, i), process.addNoise(one[0], one[2], now));
        expectClose(row(all.target, i), process.target(one[0], one[2], now));
        const predicted = process.predict(one[0], one[1], now);
        expectClose(row(all.predicted.x0, i), predicted.x0);
        expectClose(row(all.predicted.eps, i), predicted.eps);
        const step = process.step(one[0], one[1], alone);
        expectClose(row(all.step.x0, i), step.x0);
        expectClose(row(all.step.mean, i), step.mean);
        expect(all.std[i]).toBe(step.std);
        expect(process.std(alone)).toBe(step.std);
        expectClose(row(all.density.mean, i), process.density(one[0], one[1], alone).mean);
      }
      expect(all.step.std).toEqual(all.std);
      expect(all.density.std).toEqual(all.std);
      expectClose(all.density.mean, all.step.mean, 1e-5);
    }));

  test("the mean of a step moves with the output by its gain", () =>
    scope(() => {
      const times = { t, previous, eta: 0.8 };
      const gain = process.outputGain(times) as readonly number[];
      const [xt, output] = [draw(1).mul(0.1), draw(2).mul(0.1)]; // within bounds of x̂0
      const moved = process
        .density(xt, output.add(0.25), times)
        .mean.sub(process.density(xt, output, times).mean);
      for (const [i, each] of gain.entries())
        expectClose(
          row(moved, i),
          row(moved, i)
            .mul(0)
            .add(each / 4),
          2e-5,
        );
    }));

  test("a kind of step that it has not is refused, and its timesteps stay where the size of the latents does", () => {
    expect(() => process.forSampling({ stepNoise: "unheard of" })).toThrow(
      expect.objectContaining({ code: "CONFIG" }),
    );
    expect(process.forSampling({}).timesteps(STEPS)).toEqual(visited);
  });

  test("the log-density of a draw is that of its Gaussian, worked out in float64, by rows and for all alike", () =>
    scope(() => {
      const times = { t, previous, eta: 1 };
      const gaussian = process.density(draw(1), draw(2), times);
      const next = sampleGaussian(gaussian, draw(3));
      const std = gaussian.std as readonly number[];
      const rowsOf = (of: Tensor): number[][] =>
        of
          .flatten(1)
          .unbind()
          .map((each) => each.toNumbers());
      const [xs, means] = [rowsOf(next), rowsOf(gaussian.mean)];
      const found = gaussianLogProb(next, gaussian).toNumbers();
      for (const [i, s] of std.entries()) {
        const terms = (xs[i] as number[]).map(
          (x, j) =>
            -((x - (means[i]?.[j] as number)) ** 2) / (2 * s ** 2) - Math.log(s) - Math.log(2 * Math.PI) / 2,
        );
        const wanted = terms.reduce((sum, term) => sum + term, 0) / terms.length;
        expect(found[i]).toBeCloseTo(wanted, 5);
        const alone = { mean: row(gaussian.mean, i), std: s };
        expect(gaussianLogProb(row(next, i), alone).item()).toBeCloseTo(wanted, 5);
      }
    }));
});
