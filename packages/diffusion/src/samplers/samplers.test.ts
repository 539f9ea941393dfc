import { Generator, randn, scope, type Tensor, UserError } from "@spo/torch";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { NoiseSchedule, type SchedulerConfig } from "./noise-schedule.js";
import type { Sampler, SamplerState } from "./sampler.js";
import { makeSampler, SAMPLERS, type SamplerName, samplerOf } from "./samplers.js";

const names = Object.keys(SAMPLERS) as SamplerName[];
const deterministic = names.filter((name) => name !== "euler-ancestral");
const spacings = ["leading", "linspace", "trailing"] as const;
const shape = [1, 4, 3, 5];

const config = fc.record({
  beta_schedule: fc.constantFrom("scaled_linear" as const, "linear" as const),
  timestep_spacing: fc.constantFrom(...spacings),
  use_karras_sigmas: fc.boolean(),
});

/** Where a model that knows x0 and the noise leads from that noise. */
function sampleKnown(
  name: SamplerName,
  settings: SchedulerConfig,
  { steps, x0, noise }: { steps: number; x0: Tensor; noise: Tensor },
): { x: Tensor; sampler: Sampler; schedule: NoiseSchedule } {
  const schedule = new NoiseSchedule(settings);
  const sampler = makeSampler(name, schedule, steps);
  const first = sampler.alphaBar(0);
  // In the sampler's own units: Euler's x is x0 + σ·noise, the others' √ᾱ·x0 + √(1−ᾱ)·noise.
  const scale = name.startsWith("euler") ? 1 / Math.sqrt(first) : 1;
  const start = x0.mul(Math.sqrt(first)).add(noise, { alpha: Math.sqrt(1 - first) });
  let state: SamplerState = { x: start.mul(scale), history: [] };
  for (const i of sampler.timesteps.keys()) {
    const alphaBar = sampler.alphaBar(i);
    const shown = sampler.input(state.x, i);
    const eps = shown.sub(x0, { alpha: Math.sqrt(alphaBar) }).div(Math.sqrt(1 - alphaBar));
    const v = eps.mul(Math.sqrt(alphaBar)).sub(x0, { alpha: Math.sqrt(1 - alphaBar) });
    const output = settings.prediction_type === "v_prediction" ? v : eps;
    state = sampler.step(state, output, i, () => noise);
  }
  return { x: state.x, sampler, schedule };
}

const farthest = (a: Tensor, b: Tensor): number => a.sub(b).abs().max().item();

describe.each(deterministic)("%s with a model that knows the picture", (name) => {
  // Both step by strides, whatever the spacing (as diffusers has them), so only `leading` ones meet the next timestep.
  const strides = name === "ddim" || name === "pndm";
  // PNDM extrapolates outputs as they are: ε is the same all the way, v is not.
  const kinds = name === "pndm" ? (["epsilon"] as const) : (["epsilon", "v_prediction"] as const);

  test.each(kinds)("ends at that picture, by %s", (prediction_type) => {
    fc.assert(
      fc.property(config, fc.integer({ min: 2, max: 40 }), fc.nat(), (drawn, steps, seed) => {
        scope(() => {
          const settings = strides ? { ...drawn, timestep_spacing: "leading" as const } : drawn;
          const generator = new Generator(seed);
          const [x0, noise] = [randn(shape, { generator }), randn(shape, { generator })];
          const { x, schedule } = sampleKnown(name, { ...settings, prediction_type }, { steps, x0, noise });
          const end = strides ? schedule.alphaBar(0) : 1; // the others end without any noise
          const wanted = x0.mul(Math.sqrt(end)).add(noise, { alpha: Math.sqrt(1 - end) });
          expect(farthest(x, wanted)).toBeLessThan(2e-3);
        });
      }),
      { numRuns: 8 },
    );
  });
});

test("ancestral Euler ends at the picture whatever noise it draws", () => {
  scope(() => {
    const generator = new Generator(3);
    const [x0, noise] = [randn(shape, { generator }), randn(shape, { generator })];
    for (const timestep_spacing of spacings) {
      const { x } = sampleKnown("euler-ancestral", { timestep_spacing }, { steps: 9, x0, noise });
      expect(farthest(x, x0)).toBeLessThan(1e-4);
    }
  });
});

test("a step draws noise only where it has spread", () => {
  scope(() => {
    const schedule = new NoiseSchedule();
    const drawsOf = (name: SamplerName, eta: number): number => {
      const sampler = makeSampler(name, schedule, 5, { eta });
      let draws = 0;
      let state: SamplerState = { x: randn(shape, { generator: new Generator(1) }), history: [] };
      for (const i of sampler.timesteps.keys()) {
        state = sampler.step(state, state.x, i, () => {
          draws++;
          return state.x;
        });
      }
      return draws;
    };
    for (const name of deterministic) expect(drawsOf(name, 0)).toBe(0);
    expect(drawsOf("ddim", 1)).toBe(5);
    expect(drawsOf("euler-ancestral", 0)).toBe(4); // the last goes to no noise
  });
});

test("PNDM asks the model once more than there are steps, twice at the second timestep", () => {
  const { timesteps } = makeSampler("pndm", new NoiseSchedule(), 4);
  expect(timesteps).toEqual([751, 501, 501, 251, 1]);
});

test("Karras' levels fall from the largest of training to the smallest", () => {
  const schedule = new NoiseSchedule({ use_karras_sigmas: true });
  const { timesteps } = makeSampler("dpmpp-2m", schedule, 8);
  expect(timesteps[0]).toBe(999);
  expect(timesteps.at(-1)).toBe(0);
  expect(timesteps).toEqual([...timesteps].sort((a, b) => b - a));
});

test("timesteps lie as each spacing says", () => {
  const at = (timestep_spacing: (typeof spacings)[number]) =>
    new NoiseSchedule({ timestep_spacing }).timesteps(4);
  expect(at("leading")).toEqual([751, 501, 251, 1]);
  expect(at("linspace")).toEqual([999, 666, 333, 0]);
  expect(at("trailing")).toEqual([999, 749, 499, 249]);
});

test("a timestep half way between two goes to the side where numpy's rounding puts it", () => {
  // np.linspace(0, 999, 27)[::-1].round() and np.arange(1000, 0, -1000/48).round() - 1: 8 of them lie half way.
  const linspace = new NoiseSchedule({ timestep_spacing: "linspace" }).timesteps(27);
  expect(linspace[13]).toBe(499);
  const trailing = new NoiseSchedule({ timestep_spacing: "trailing" }).timesteps(48);
  expect([3, 9, 15, 21, 27, 33, 39, 45].map((i) => trailing[i])).toEqual([
    936, 811, 686, 561, 436, 311, 186, 61,
  ]);
});

test("a schedule of zero terminal signal keeps its first ᾱ and ends with noise alone, whose σ is finite", () => {
  const [plain, zero] = [false, true].map(
    (rescale_betas_zero_snr) => new NoiseSchedule({ rescale_betas_zero_snr }),
  ) as [NoiseSchedule, NoiseSchedule];
  expect(zero.alphaBar(0)).toBeCloseTo(plain.alphaBar(0), 6);
  expect(zero.alphaBar(999)).toBe(0);
  expect(zero.alphaBar(500)).toBeLessThan(plain.alphaBar(500));
  expect(zero.sigma(999)).toBe(4096);
  expect(() => makeSampler("pndm", zero, 4)).toThrow(/rescale_betas_zero_snr/);
});

test("DPM-Solver refuses a bound on λ that cuts its schedule, and takes one that does not", () => {
  const timesteps = (lambda_min_clipped: number) =>
    makeSampler("dpmpp-2m", new NoiseSchedule({ lambda_min_clipped }), 4).timesteps;
  expect(timesteps(-5.1)).toEqual(timesteps(Number.NEGATIVE_INFINITY));
  expect(() => timesteps(-2)).toThrow(/lambda_min_clipped/);
});

test("the sampler is the one that a checkpoint names, and an unknown one is refused by name", () => {
  expect(samplerOf({ _class_name: "PNDMScheduler" })).toBe("pndm");
  expect(samplerOf({ _class_name: "EulerDiscreteScheduler" })).toBe("euler");
  expect(samplerOf({})).toBe("ddim");
  expect(() => samplerOf({ _class_name: "HeunDiscreteScheduler" })).toThrow(UserError);
  expect(() => samplerOf({ _class_name: "HeunDiscreteScheduler" })).toThrow(/HeunDiscreteScheduler/);
});

test("settings of a scheduler that are not supported are refused by name", () => {
  for (const wrong of [
    { algorithm_type: "sde-dpmsolver++" },
    { solver_order: 3 },
    { use_beta_sigmas: true },
    { beta_schedule: "squaredcos_cap_v2" },
    { interpolation_type: "log_linear" },
    { clip_sample: true },
    { prediction_type: "sample" },
    { trained_betas: [0.1] },
  ]) {
    expect(() => new NoiseSchedule(wrong as SchedulerConfig)).toThrow(
      new RegExp(Object.keys(wrong)[0] as string),
    );
  }
});
