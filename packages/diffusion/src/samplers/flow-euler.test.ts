import { Generator, randn, scope } from "@spo/torch";
import { expect, test } from "vitest";
import { refusal } from "../refusal.fixture.js";
import { CheckpointSchedule } from "./checkpoint-schedule.js";
import { FlowEulerSchedule } from "./flow-euler.js";

const GRID = { spacing: "training", patch: 2, latentSize: [8, 8] } as const;
const schedule = new FlowEulerSchedule({ shift: 3 }, GRID);

test("from the noise of x_0 the velocity leads to x_0, over the checkpoint's levels", () =>
  scope(() => {
    const draw = (seed: number) => randn([1, 2, 4, 4], { generator: new Generator(seed) });
    const [x0, eps] = [draw(1), draw(2)];
    const sampler = schedule.sampler(schedule.ownSampler(), { steps: 5 });
    expect(sampler.sigmas).toEqual(schedule.process.sigmas(5));
    let state = { x: eps.mul(sampler.initialScale), history: [] as never[] };
    for (const i of sampler.timesteps.keys())
      state = sampler.step(state, eps.sub(x0), i, () => {
        throw new Error("an Euler step draws nothing");
      }) as typeof state;
    expect(state.x.sub(x0).abs().max().item()).toBeLessThan(1e-6);
  }));

test("a noise level makes its steps stochastic", () =>
  scope(() => {
    const x = randn([1, 1, 2, 2], { generator: new Generator(1) });
    const sampler = schedule.sampler("euler", { steps: 5, eta: 0.7 });
    const at = (noise: number) => sampler.step({ x, history: [] }, x, 1, () => x.mul(0).add(noise)).x;
    const [t, previous] = sampler.timesteps.slice(1) as [number, number];
    const std = schedule.process.std({ t, previous, eta: 0.7 }) as number;
    expect(at(1).sub(at(0)).sub(std).abs().max().item()).toBeLessThan(1e-6);
  }));

test("a spacing that is asked for takes the place of the config's, and the size of the latents counts", () => {
  const karras = new FlowEulerSchedule({ shift: 3, use_karras_sigmas: true }, GRID);
  expect([schedule.spacingOf(), karras.spacingOf()]).toEqual([undefined, "karras"]);
  expect(schedule.sampler("euler", { steps: 4, spacing: "karras" }).sigmas).toEqual(karras.process.sigmas(4));
  expect(karras.sampler("euler", { steps: 4, spacing: "beta" }).sigmas).not.toEqual(karras.process.sigmas(4));
  const dynamic = new FlowEulerSchedule({ use_dynamic_shifting: true }, { ...GRID, spacing: "whole" });
  const second = (side: number) =>
    dynamic.sampler("euler", { steps: 4, latentSize: [side, side] }).sigmas?.[1] as number;
  expect(second(128)).toBeGreaterThan(second(64));
});

test("samplers and spacings of other processes are refused, and schedulers of one kind of model for the other", () => {
  expect(refusal(() => schedule.sampler("dpmpp-2m", { steps: 4 }))).toMatch(/dpmpp-2m/);
  expect(refusal(() => schedule.sampler("euler", { steps: 4, spacing: "lu" }))).toMatch(/no schedule lu/);
  expect(refusal(() => new FlowEulerSchedule({ _class_name: "DDIMScheduler" }, GRID))).toContain(
    "DDIMScheduler",
  );
  expect(refusal(() => new FlowEulerSchedule({ invert_sigmas: true }, GRID))).toContain("invert_sigmas");
  const flow = { _class_name: "FlowMatchEulerDiscreteScheduler" };
  expect(refusal(() => new CheckpointSchedule(flow))).toContain("flow models");
});
