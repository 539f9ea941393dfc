import { VpSchedule } from "@spo/diffusion";
import { expect, test } from "vitest";
import { thresholdsByNoise } from "./thresholds.js";

const process = new VpSchedule();

/** σ of 20 steps in LPO's code, from t = 951 down to 1. */
const PUBLISHED = [
  0.6444, 0.6241, 0.6029, 0.5807, 0.5576, 0.5336, 0.5087, 0.4829, 0.4565, 0.4293, 0.4016, 0.3732, 0.3442,
  0.3144, 0.2836, 0.2509, 0.2144, 0.1673, 0.0406, 0.0206,
];

test("by σ, thresholds follow the published table of 20 steps to its last digit", () => {
  const [most, least] = [0.6444, 0.0206];
  const found = thresholdsByNoise(process, 20, { min: least, max: most, by: "sigma" });
  for (const [i, sigma] of PUBLISHED.entries())
    expect(Math.abs((found[i] as number) - sigma)).toBeLessThan(1e-4);
});

test("by variance and linearly they have the same ends, and other values between", () => {
  const of = (by: "sigma" | "variance" | "linear"): number[] =>
    thresholdsByNoise(process, 20, { min: 0.35, max: 0.5, by });
  for (const by of ["sigma", "variance", "linear"] as const) {
    expect(of(by)[0]).toBeCloseTo(0.5, 12);
    expect(of(by).at(-1)).toBeCloseTo(0.35, 12);
  }
  const middle = 10; // t = 451
  expect(of("linear")[middle]).toBeCloseTo(0.35 + (450 / 950) * 0.15, 12);
  expect(of("variance")[middle]).toBeLessThan(of("linear")[middle] as number);
  expect(of("sigma")[middle]).toBeGreaterThan(of("linear")[middle] as number);
});

test("of a single step it is the largest", () => {
  expect(thresholdsByNoise(process, 1, { min: 0.1, max: 0.4, by: "sigma" })).toEqual([0.4]);
});
