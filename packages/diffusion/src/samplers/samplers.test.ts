import { Generator, randn, scope, type Tensor, UserError } from "@spo/torch";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { VpSchedule } from "../process/vp-schedule.js";
import { CheckpointSchedule } from "./checkpoint-schedule.js";
import type { Sampler, SamplerState } from "./sampler.js";
import { makeSampler, SAMPLERS, type SamplerName, samplerOf } from "./samplers.js";
import type { SchedulerConfig } from "./scheduler-config.js";
import { alphaBarOf } from "./sigmas.js";

const names = Object.keys(SAMPLERS) as SamplerName[];
const noisy: readonly SamplerName[] = ["euler-ancestral", "dpmpp-2m-sde", "lcm"];
const deterministic = names.filter((name) => !noisy.includes(name));
const spacings = ["leading", "linspace", "trailing"] as const;
const shape = [1, 4, 3, 5];

const config = fc
  .record({
    beta_schedule: fc.constantFrom("scaled_linear" as const, "linear" as const),
    timestep_spacing: fc.constantFrom(...spacings),
    solver_order: fc.constantFrom(1, 2, 3),
    solver_type: fc.constantFrom("midpoint" as const, "heun" as const),
    use: fc.constantFrom(
      "",
      "use_karras_sigmas",
      "use_exponential_sigmas",
      "use_beta_sigmas",
      "use_lu_lambdas",
    ),
  })
  .map(({ use, ...rest }) => ({ ...rest, ...(use && { [use]: true }) }));

/** Where a model that knows x0 and the noise leads from that noise. */
function sampleKnown(
  name: SamplerName,
  settings: SchedulerConfig,
  { steps, x0, noise }: { steps: number; x0: Tensor; noise: Tensor },
): { x: Tensor; sampler: Sampler; schedule: VpSchedule } {
  const schedule = new VpSchedule(settings);
  const sampler = makeSampler(name, schedule, steps);
  const alphaBarAt = (i: number): number => {
    const sigma = sampler.sigmas?.[i];
    return sigma === undefined ? schedule.alphaBar(sampler.timesteps[i] as number) : alphaBarOf(sigma);
  };
  const first = alphaBarAt(0);
  // In the sampler's own units: Euler's x is x0 + σ·noise, the others' √ᾱ·x0 + √(1−ᾱ)·noise.
  const scale = name.startsWith("euler") ? 1 / Math.sqrt(first) : 1;
  const start = x0.mul(Math.sqrt(first)).add(noise, { alpha: Math.sqrt(1 - first) });
  let state: SamplerState = { x: start.mul(scale), history: [] };
  for (const i of sampler.timesteps.keys()) {
    const alphaBar = alphaBarAt(i);
    const shown = sampler.input(state.x, i);
    const eps = shown.sub(x0, { alpha: Math.sqrt(alphaBar) }).div(Math.sqrt(1 - alphaBar));
    const v = eps.mul(Math.sqrt(alphaBar)).sub(x0, { alpha: Math.sqrt(1 - alphaBar) });
    const output = { epsilon: eps, v_prediction: v, sample: x0 }[settings.prediction_type ?? "epsilon"];
    state = sampler.step(state, output, i, () => noise);
  }
  return { x: state.x, sampler, schedule };
}

const farthest = (a: Tensor, b: Tensor): number => a.sub(b).abs().max().item();

describe.each(deterministic)("%s with a model that knows the picture", (name) => {
  // Both step by strides, whatever the spacing (as diffusers has them), so only `leading` ones meet the next timestep.
  const strides = name === "ddim" || name === "pndm";
  // PNDM extrapolates outputs as they are: ε is the same all the way, v is not.
  const kinds = name === "pndm" ? (["epsilon"] as const) : (["epsilon", "v_prediction", "sample"] as const);

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

test.each(noisy)("%s ends at the picture whatever noise it draws", (name) => {
  scope(() => {
    const generator = new Generator(3);
    const [x0, noise] = [randn(shape, { generator }), randn(shape, { generator })];
    for (const timestep_spacing of spacings) {
      const { x } = sampleKnown(name, { timestep_spacing }, { steps: 9, x0, noise });
      expect(farthest(x, x0)).toBeLessThan(1e-4);
    }
  });
});

test("a step draws noise only where it has spread", () => {
  scope(() => {
    const schedule = new VpSchedule();
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
    for (const name of noisy) expect(drawsOf(name, 0)).toBe(4); // the last goes to no noise
  });
});

test("PNDM asks the model once more than there are steps, twice at the second timestep", () => {
  const { timesteps } = makeSampler("pndm", new VpSchedule(), 4);
  expect(timesteps).toEqual([751, 501, 501, 251, 1]);
});

test("Karras' levels fall from the largest of training to the smallest", () => {
  const schedule = new VpSchedule({ use_karras_sigmas: true });
  const { timesteps } = makeSampler("dpmpp-2m", schedule, 8);
  expect(timesteps[0]).toBe(999);
  expect(timesteps.at(-1)).toBe(0);
  expect(timesteps).toEqual([...timesteps].sort((a, b) => b - a));
});

test("timesteps lie as each spacing says", () => {
  const at = (timestep_spacing: (typeof spacings)[number]) =>
    new VpSchedule({ timestep_spacing }).timesteps(4);
  expect(at("leading")).toEqual([751, 501, 251, 1]);
  expect(at("linspace")).toEqual([999, 666, 333, 0]);
  expect(at("trailing")).toEqual([999, 749, 499, 249]);
});

test("a timestep half way between two goes to the side where numpy's rounding puts it", () => {
  // np.linspace(0, 999, 27)[::-1].round() and np.arange(1000, 0, -1000/48).round() - 1: 8 of them lie half way.
  const linspace = new VpSchedule({ timestep_spacing: "linspace" }).timesteps(27);
  expect(linspace[13]).toBe(499);
  const trailing = new VpSchedule({ timestep_spacing: "trailing" }).timesteps(48);
  expect([3, 9, 15, 21, 27, 33, 39, 45].map((i) => trailing[i])).toEqual([
    936, 811, 686, 561, 436, 311, 186, 61,
  ]);
});

test("a schedule of zero terminal signal keeps its first ᾱ and ends with noise alone, whose σ is finite", () => {
  const [plain, zero] = [false, true].map(
    (rescale_betas_zero_snr) => new VpSchedule({ rescale_betas_zero_snr }),
  ) as [VpSchedule, VpSchedule];
  expect(zero.alphaBar(0)).toBeCloseTo(plain.alphaBar(0), 6);
  expect(zero.alphaBar(999)).toBe(0);
  expect(zero.alphaBar(500)).toBeLessThan(plain.alphaBar(500));
  expect(zero.sigma(999)).toBe(4096);
  expect(() => makeSampler("pndm", zero, 4)).toThrow(/rescale_betas_zero_snr/);
});

test("a bound on λ starts DPM-Solver at the first timestep above it, and below the last it changes nothing", () => {
  const timesteps = (lambda_min_clipped: number) =>
    makeSampler("dpmpp-2m", new VpSchedule({ lambda_min_clipped }), 4).timesteps;
  expect(timesteps(-5.1)).toEqual(timesteps(Number.NEGATIVE_INFINITY));
  const [first] = timesteps(-2) as [number];
  const lambda = (t: number): number => -Math.log(new VpSchedule().sigma(t));
  expect(lambda(first)).toBeGreaterThanOrEqual(-2);
  expect(lambda(first + 1)).toBeLessThan(-2);
});

test("the sampler is the one that a checkpoint names, and an unknown one is refused by name", () => {
  expect(samplerOf({ _class_name: "PNDMScheduler" })).toBe("pndm");
  expect(samplerOf({ _class_name: "EulerDiscreteScheduler" })).toBe("euler");
  expect(samplerOf({ _class_name: "DPMSolverMultistepScheduler" })).toBe("dpmpp-2m");
  const sde = { _class_name: "DPMSolverMultistepScheduler", algorithm_type: "sde-dpmsolver++" } as const;
  expect(samplerOf(sde)).toBe("dpmpp-2m-sde");
  expect(samplerOf({})).toBe("ddim");
  expect(() => samplerOf({ _class_name: "HeunDiscreteScheduler" })).toThrow(UserError);
  expect(() => samplerOf({ _class_name: "HeunDiscreteScheduler" })).toThrow(/HeunDiscreteScheduler/);
});

test("settings that no sampler follows are refused by name", () => {
  for (const wrong of [
    { use_flow_sigmas: true },
    { beta_schedule: "sigmoid" },
    { prediction_type: "flow_prediction" },
    { trained_betas: [0.1] },
  ]) {
    expect(() => new CheckpointSchedule(wrong as SchedulerConfig)).toThrow(
      new RegExp(Object.keys(wrong)[0] as string),
    );
  }
});

test("settings that one sampler does not follow are refused by name, and by that one only", () => {
  const wrong: [SamplerName, SchedulerConfig, RegExp][] = [
    ["euler-ancestral", { prediction_type: "sample" }, /prediction_type "sample"/],
    ["pndm", { prediction_type: "sample" }, /prediction_type "sample"/],
    ["pndm", { rescale_betas_zero_snr: true }, /rescale_betas_zero_snr/],
    ["pndm", { skip_prk_steps: false }, /skip_prk_steps/], // of three steps
    ["dpmpp-2m", { variance_type: "learned_range" }, /variance_type "learned_range"/],
    ["dpmpp-2m", { solver_order: 4 }, /solver_order 4/],
    ["dpmpp-2m-sde", { solver_order: 3 }, /solver_order 3/],
    ["lcm", { original_inference_steps: 2 }, /2 original_inference_steps/], // of three
    ["euler", { use_karras_sigmas: true, use_beta_sigmas: true }, /use_karras_sigmas and use_beta_sigmas/],
    ["ddim", { rescale_betas_zero_snr: true, timestep_spacing: "trailing" }, /rescale_betas_zero_snr/],
  ];
  for (const [name, settings, words] of wrong) {
    const make = (sampler: SamplerName) => () => makeSampler(sampler, new VpSchedule(settings), 3);
    expect(make(name)).toThrow(UserError);
    expect(make(name)).toThrow(words);
    const other = name === "euler" ? "ddim" : "euler";
    expect(make(other)).not.toThrow();
  }
});

test("LCM asks at every so many of the timesteps that it was taught", () => {
  const timesteps = (steps: number) => makeSampler("lcm", new VpSchedule(), steps).timesteps;
  expect(timesteps(4)).toEqual([999, 759, 499, 259]);
  expect(timesteps(50).at(-1)).toBe(19);
});

test("PNDM with Runge–Kutta asks the model four times in each of the first three steps", () => {
  const { timesteps } = makeSampler("pndm", new VpSchedule({ skip_prk_steps: false }), 5);
  expect(timesteps).toEqual([801, 701, 701, 601, 601, 501, 501, 401, 401, 301, 301, 201, 201, 1]);
});

test("the form of DPM-Solver without ++ is refused where a checkpoint asks for it, and not where another sampler is chosen", () => {
  const config = { _class_name: "DPMSolverMultistepScheduler", algorithm_type: "dpmsolver" } as const;
  expect(() => samplerOf(config)).toThrow(/algorithm_type "dpmsolver"/);
  expect(() => makeSampler("dpmpp-2m", new VpSchedule(config), 3)).not.toThrow();
});
