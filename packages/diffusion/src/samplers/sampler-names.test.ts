import { UserError } from "@spo/torch/files";
import { describe, expect, test } from "vitest";
import { refusal } from "../refusal.fixture.js";
import {
  chooseSampler,
  requireSchedule,
  SAMPLER_LIST,
  SCHEDULES,
  type ScheduleName,
} from "./sampler-names.js";
import type { SamplerName } from "./scheduler-classes.js";

test.each<[string, SamplerName, ScheduleName?]>([
  ...SAMPLER_LIST.map((name): [string, SamplerName] => [name, name]),
  // A1111's, of all versions
  ["DPM++ 2M Karras", "dpmpp-2m", "karras"],
  ["DPM++ 2M SDE Karras", "dpmpp-2m-sde", "karras"],
  ["DPM++ 2M SDE Exponential", "dpmpp-2m-sde", "exponential"],
  ["DPM++ 2M", "dpmpp-2m"],
  ["DPM++ 2M SDE", "dpmpp-2m-sde"],
  ["Euler a", "euler-ancestral"],
  ["Euler", "euler"],
  ["DDIM", "ddim"],
  ["PLMS", "pndm"],
  ["LCM", "lcm"],
  ["Euler SGM Uniform", "euler", "sgm-uniform"],
  // ComfyUI's
  ["dpmpp_2m", "dpmpp-2m"],
  ["dpmpp_2m_sde", "dpmpp-2m-sde"],
  ["dpmpp_2m_sde_gpu", "dpmpp-2m-sde"],
  ["euler_ancestral", "euler-ancestral"],
  // kohya's and InvokeAI's
  ["k_euler_a", "euler-ancestral"],
  ["dpmsolver++", "dpmpp-2m"],
  ["dpmpp_2m_k", "dpmpp-2m", "karras"],
  ["euler_k", "euler", "karras"],
  // diffusers'
  ["DDIMScheduler", "ddim"],
  ["PNDMScheduler", "pndm"],
  ["LCMScheduler", "lcm"],
  ["EulerDiscreteScheduler", "euler"],
  ["EulerAncestralDiscreteScheduler", "euler-ancestral"],
  ["DPMSolverMultistepScheduler", "dpmpp-2m"],
  // in any spelling
  ["  dpm++  2m   KARRAS ", "dpmpp-2m", "karras"],
  ["DPM++_2M_SDE-karras", "dpmpp-2m-sde", "karras"],
  ["eUlEr A", "euler-ancestral"],
])('"%s" is %s', (name, sampler, schedule) => {
  expect(chooseSampler({ sampler: name })).toEqual({ sampler, schedule });
});

test.each<[string, ScheduleName | undefined]>([
  ["Karras", "karras"],
  ["exponential", "exponential"],
  ["Beta", "beta"],
  ["SGM Uniform", "sgm-uniform"],
  ["sgm_uniform", "sgm-uniform"],
  ["simple", "sgm-uniform"],
  ["normal", "uniform"],
  ["Uniform", "uniform"],
  ["DDIM", "ddim-uniform"],
  ["ddim_uniform", "ddim-uniform"],
  ["trailing", "sgm-uniform"],
  ["Automatic", undefined],
])('the schedule "%s" is %s', (name, schedule) => {
  expect(chooseSampler({ sampler: "dpmpp_2m", schedule: name })).toEqual({ sampler: "dpmpp-2m", schedule });
});

describe("what is not here is refused by its name and with what comes nearest:", () => {
  const fault = (given: { sampler?: string; schedule?: string }): UserError => {
    try {
      chooseSampler(given);
    } catch (error) {
      return error as UserError;
    }
    throw new Error("nothing was thrown");
  };

  test.each([
    ["UniPC", "dpmpp-2m"],
    ["uni_pc_bh2", "dpmpp-2m"],
    ["UniPCMultistepScheduler", "dpmpp-2m"],
    ["Heun", "dpmpp-2m"],
    ["HeunDiscreteScheduler", "dpmpp-2m"],
    ["DPM2 a Karras", "dpmpp-2m"],
    ["KDPM2AncestralDiscreteScheduler", "dpmpp-2m"],
    ["LMS Karras", "dpmpp-2m"],
    ["DPM++ SDE Karras", "dpmpp-2m-sde"],
    ["DPM++ 2S a Karras", "euler-ancestral"],
    ["DPM++ 3M SDE", "dpmpp-2m-sde"],
    ["DPM adaptive", "dpmpp-2m"],
    ["DPMSolverSinglestepScheduler", "dpmpp-2m"],
    ["DEIS", "dpmpp-2m"],
    ["ddpm", "ddim with --eta 1"],
    ["Restart", "euler"],
    ["TCD", "lcm"],
  ])("%s, %s", (name, nearest) => {
    const error = fault({ sampler: name });
    expect(error).toBeInstanceOf(UserError);
    expect(error).toMatchObject({
      code: "USAGE",
      hint: expect.stringContaining(`The nearest is ${nearest}.`),
    });
    expect(error.message).toContain(`"${name}"`);
  });

  test("names that mean nothing, and schedules that are not here", () => {
    expect(fault({ sampler: "my sampler" }).message).toBe('"my sampler" is no sampler that is known here.');
    expect(fault({ schedule: "steep" }).message).toBe('"steep" is no schedule that is known here.');
    for (const schedule of ["Polyexponential", "KL Optimal", "Align Your Steps", "Turbo", "linear_quadratic"])
      expect(fault({ schedule }).message).toBe(`The schedule of "${schedule}" is not here.`);
    expect(fault({ sampler: "DPM++ 2M Polyexponential" }).message).toContain("is not here");
  });

  test("two schedules that differ; equal ones agree", () => {
    expect(refusal(() => chooseSampler({ sampler: "DPM++ 2M Karras", schedule: "beta" }))).toContain(
      "says Karras",
    );
    expect(chooseSampler({ sampler: "DPM++ 2M Karras", schedule: "karras" }).schedule).toBe("karras");
    expect(chooseSampler({ sampler: "DPM++ 2M Karras", schedule: "automatic" }).schedule).toBe("karras");
  });
});

test("a schedule goes with the samplers that diffusers has it for", () => {
  const followed = (Object.keys(SCHEDULES) as ScheduleName[]).map((schedule) => [
    schedule,
    SAMPLER_LIST.filter((sampler) => {
      try {
        requireSchedule(sampler, schedule);
        return true;
      } catch {
        return false;
      }
    }),
  ]);
  const byLevels = ["euler", "dpmpp-2m", "dpmpp-2m-sde"];
  const all = SAMPLER_LIST.filter((name) => name !== "lcm");
  expect(Object.fromEntries(followed)).toEqual({
    ...{ karras: byLevels, exponential: byLevels, beta: byLevels, lu: byLevels.slice(1) },
    ...{ uniform: all, "sgm-uniform": all, "ddim-uniform": all },
  });
  expect(refusal(() => chooseSampler({ sampler: "Euler a Karras" }))).toContain(
    "euler-ancestral has no schedule karras",
  );
});
