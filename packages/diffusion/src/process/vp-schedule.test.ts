// Against the formulas worked out in float64.
import { Generator, randn, scope, type Tensor } from "@spo/torch";
import { expect, test } from "vitest";
import { VpSchedule } from "./vp-schedule.js";

const draw = (seed: number): Tensor => randn([2, 3, 2, 2], { generator: new Generator(seed) });
const T = [951, 51];
const PREVIOUS = [901, 1];
/** One list a row. */
const rowsOf = (of: Tensor): number[][] =>
  of
    .flatten(1)
    .unbind()
    .map((row) => row.toNumbers());

/** The values of `found` are those of `wanted`, of row i and place j. */
function expectEach(found: Tensor, wanted: (i: number, j: number) => number, digits = 5): void {
  for (const [i, row] of rowsOf(found).entries())
    for (const [j, value] of row.entries()) expect(value).toBeCloseTo(wanted(i, j), digits);
}

test("x_t is √ᾱ_t·x_0 + √(1−ᾱ_t)·ε", () =>
  scope(() => {
    const process = new VpSchedule();
    const [x0, eps] = [rowsOf(draw(1)), rowsOf(draw(2))];
    expectEach(process.addNoise(draw(1), draw(2), T), (i, j) => {
      const a = process.alphaBar(T[i] as number);
      return Math.sqrt(a) * (x0[i]?.[j] as number) + Math.sqrt(1 - a) * (eps[i]?.[j] as number);
    });
  }));

test.each([
  ["clip_sample", { clip_sample: true, clip_sample_range: 0.8 }, 0.8],
  ["thresholding", { thresholding: true, dynamic_thresholding_ratio: 0.9, sample_max_value: 1.5 }, 1],
] as const)(
  "a step bounds x̂0 by %s and takes ε as it was predicted, and its density too",
  (_, bounds, most) =>
    scope(() => {
      for (const prediction_type of ["epsilon", "v_prediction"] as const) {
        const process = new VpSchedule({ ...bounds, prediction_type });
        const [xt, output] = [draw(1).mul(3), draw(2)];
        const times = { t: T, previous: PREVIOUS, eta: 0.5 };
        const step = process.step(xt, output, times);
        const predicted = process.predict(xt, output, T);
        expect(predicted.x0.abs().max().item()).toBeGreaterThan(2);
        expect(step.x0.abs().max().item()).toBeLessThanOrEqual(most + 1e-6);
        const [x0, eps] = [rowsOf(step.x0), rowsOf(predicted.eps)];
        const mean = (i: number, j: number): number => {
          const [a, p] = [process.alphaBar(T[i] as number), process.alphaBar(PREVIOUS[i] as number)];
          const variance = 0.5 ** 2 * ((1 - p) / (1 - a)) * (1 - a / p);
          return (
            Math.sqrt(p) * (x0[i]?.[j] as number) + Math.sqrt(1 - p - variance) * (eps[i]?.[j] as number)
          );
        };
        expectEach(step.mean, mean);
        expectEach(process.density(xt, output, times).mean, mean);
      }
    }),
);

test("a step below the first timestep ends at ᾱ_0, or at the image itself where the config says so", () =>
  scope(() => {
    const times = { t: 1, previous: -49, eta: 1 };
    expect(new VpSchedule().std(times)).toBe(new VpSchedule().std({ ...times, previous: 0 }));
    const whole = new VpSchedule({ set_alpha_to_one: true }).step(draw(1), draw(2), times);
    expect(whole.std).toBe(0);
    expect(whole.mean.toNumbers()).toEqual(whole.x0.toNumbers());
  }));
