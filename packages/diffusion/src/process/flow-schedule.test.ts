// Values of diffusers' FlowMatchEulerDiscreteScheduler and of its pipelines, in float64.
import { Generator } from "@spo/torch";
import { expect, test } from "vitest";
import { type FlowConfig, FlowSchedule } from "./flow-schedule.js";
import { flowStep } from "./flow-step.js";

const GRID = { spacing: "training", patch: 2, latentSize: [64, 64] } as const;
const SD3 = new FlowSchedule({ shift: 3 }, GRID);

const expectClose = (found: readonly number[], wanted: readonly number[], digits = 6): void => {
  expect(found).toHaveLength(wanted.length);
  for (const [i, each] of wanted.entries()) expect(found[i]).toBeCloseTo(each, digits);
};

test.each<[string, FlowConfig, number[]]>([
  ["a shift, which the last level has had once before", {}, [1, 0.8576923, 0.6021506, 0.0089286, 0]],
  ["Karras' spacing", { use_karras_sigmas: true }, [1, 0.2866939, 0.0625886, 0.0089286, 0]],
  ["an exponential spacing", { use_exponential_sigmas: true }, [1, 0.2074566, 0.0430383, 0.0089286, 0]],
  ["a beta spacing", { use_beta_sigmas: true }, [1, 0.7270458, 0.2818828, 0.0089286, 0]],
  ["a last level that is asked for", { shift_terminal: 0.1 }, [1, 0.8707692, 0.6387097, 0.1, 0]],
  ["a shift by the image's size", { use_dynamic_shifting: true }, [1, 0.7899539, 0.4849674, 0.001876, 0]],
])("the levels have %s", (_, config, wanted) => {
  expectClose(new FlowSchedule({ shift: 3, ...config }, GRID).sigmas(4), wanted);
});

test.each<[string, readonly [number, number], FlowConfig, number[]]>([
  ["exponentially", [64, 64], {}, [1, 0.8492348, 0.6524894, 0.3849447, 0]],
  ["exponentially beyond the largest size", [120, 200], {}, [1, 0.9289653, 0.8134055, 0.5923477, 0]],
  ["linearly", [64, 64], { time_shift_type: "linear" }, [1, 0.6539792, 0.3865031, 0.1735537, 0]],
  ["linearly beyond", [120, 200], { time_shift_type: "linear" }, [1, 0.8153917, 0.595517, 0.329203, 0]],
])("larger images have more time at high noise, %s", (_, latentSize, config, wanted) => {
  const process = new FlowSchedule({ use_dynamic_shifting: true, ...config }, { ...GRID, spacing: "whole" });
  expectClose(process.forSampling({ latentSize }).sigmas(4), wanted);
});

test("a single step goes from noise to the image", () => {
  expect(SD3.sigmas(1)).toEqual([1, 0]);
});

test("a step goes to the next visited timestep, also from one that has gone through float32", () => {
  const visited = SD3.timesteps(20);
  for (const [i, t] of visited.entries())
    for (const same of [t, Math.fround(t), Math.fround(Math.fround(t / 1000) * 1000)])
      expect(SD3.previousTimestep(same, 20)).toBe(visited[i + 1] ?? 0);
});

test("timesteps of training are levels of its list, most of them in its middle", () => {
  const levels = new Set(Array.from({ length: 1000 }, (_, i) => 1000 * SD3.trainingSigma(i + 1)));
  const drawn = SD3.drawTimesteps(4000, new Generator(3));
  expect(drawn.every((t) => levels.has(t))).toBe(true);
  const share = (low: number, high: number): number => {
    const [from, to] = [low, high].map((place) => 1000 * SD3.trainingSigma(place)) as [number, number];
    return drawn.filter((t) => t > from && t <= to).length / drawn.length;
  };
  expect(share(500, 1000)).toBeCloseTo(0.5, 1); // the median of sigmoid(N(0, 1))
  expect(share(269, 731)).toBeCloseTo(0.683, 1); // one standard deviation to either side
});

// The table of the steps of SD3.5 with 10 steps: std, and |∂μ/∂v|/std.
test.each([
  [
    "flow-sde",
    [0.7, 0.74, 0.54, 0.45, 0.39, 0.35, 0.32, 0.28, 0.23],
    [0.06, 0.08, 0.13, 0.19, 0.26, 0.37, 0.54, 0.83, 1.49],
  ],
  ["constant-sde", [], [0.67, 0.72, 0.79, 0.87, 0.97, 1.1, 1.27, 1.52, 1.93]],
  ["cps", [], [0.05, 0.08, 0.13, 0.18, 0.26, 0.38, 0.58, 1.08]],
] as const)(
  "steps of %s have the published spread, and move with v as much as it says",
  (noise, stds, ratios) => {
    const sigmas = SD3.sigmas(10);
    const steps = sigmas.slice(1).map((next, i) => {
      const eta = noise === "constant-sde" ? 0.3 : 0.7;
      return flowStep({ sigma: sigmas[i] as number, next, eta, noise });
    });
    for (const [i, std] of stds.entries()) expect(Math.abs((steps[i]?.std ?? 0) - std)).toBeLessThan(0.011);
    for (const [i, ratio] of ratios.entries()) {
      const { ofV, std } = steps[i] as { ofV: number; std: number };
      expect(Math.abs(Math.abs(ofV) / std - ratio)).toBeLessThan(0.012);
    }
  },
);

test("coefficients-preserving steps keep the whole noise of their level, and the last adds none", () => {
  for (const [sigma, next] of [
    [0.9, 0.7],
    [0.4, 0.1],
  ] as const) {
    const { ofX, ofV, std } = flowStep({ sigma, next, eta: 0.7, noise: "cps" });
    // μ = (1−σ')·x_0 + r·ε for x = (1−σ)·x_0 + σ·ε and v = ε − x_0.
    const [ofX0, ofEps] = [ofX * (1 - sigma) - ofV, ofX * sigma + ofV];
    expect(ofX0).toBeCloseTo(1 - next, 9);
    expect(Math.hypot(ofEps, std)).toBeCloseTo(next, 9);
  }
  expect(flowStep({ sigma: 0.2, next: 0, eta: 0.7, noise: "cps" }).std).toBe(0);
});
