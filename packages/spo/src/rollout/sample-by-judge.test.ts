import { type Denoiser, VpSchedule } from "@spo/diffusion";
import { WorkMeter } from "@spo/records";
import { Generator, liveTensors, randn, scope, type Tensor } from "@spo/torch";
import { describe, expect, test } from "vitest";
import type { CandidateScorer } from "../judges/judge.js";
import { type JudgedSteps, sampleByJudge } from "./sample-by-judge.js";

const process = new VpSchedule();
const denoiser: Denoiser = { samplePasses: 2, forRows: () => (xt) => xt.mul(0.5) };
const latentShape = [4, 2, 2];
const large: CandidateScorer = { score: ({ x0 }) => scope(() => x0.mean([1, 2, 3])) };
const settings: JudgedSteps = { steps: 5, candidates: 4, firstBranch: 1, eta: 1 };

function sampled(
  seeds: readonly number[],
  more: Partial<JudgedSteps> = {},
  scorer = large,
  meter?: WorkMeter,
) {
  const steps: string[] = [];
  const values = scope(() => {
    const latents = sampleByJudge({
      ...{ denoiser, process, scorer, decode: (x: Tensor) => x, latentShape, device: "cpu", meter },
      generators: seeds.map((seed) => new Generator(seed)),
      settings: { ...settings, ...more },
      onStep: (done, of) => steps.push(`${done}/${of}`),
    });
    expect(latents.shape).toEqual([seeds.length, ...latentShape]);
    return latents.toNumbers();
  });
  return { values, steps };
}
const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

describe("sampling by a judge", () => {
  test("lets what the judge likes go on: more candidates and more steps with them please it more", () => {
    const seeds = [1, 2, 3, 4, 5, 6];
    const of = (more: Partial<JudgedSteps>): number => mean(sampled(seeds, more).values);
    const [few, many, late] = [
      of({ candidates: 2 }),
      of({ candidates: 16 }),
      of({ candidates: 16, firstBranch: 4 }),
    ];
    expect(many).toBeGreaterThan(few);
    expect(many).toBeGreaterThan(late);
    const unjudged = mean(sampled(seeds, {}, { score: (_, rows) => randn([rows.length]).mul(0) }).values);
    expect(few).toBeGreaterThan(unjudged);
  });

  test("draws each image from its own seed, whatever stands beside it", () => {
    const [both, first, second] = [sampled([7, 8]), sampled([7]), sampled([8])];
    const size = first.values.length;
    for (const [i, value] of [...first.values, ...second.values].entries())
      expect(both.values[i]).toBeCloseTo(value, 5);
    expect(both.values.slice(0, size)).not.toEqual(both.values.slice(size));
  });

  test("begins and ends with deterministic steps, which one candidate's are where nothing is judged any more", () => {
    // Of candidates that are all alike nothing depends on the judge: the last branch at step 1, with as good as no noise.
    const still = sampled([3], { firstBranch: 1, lastBranch: 1, eta: 1e-9 });
    const x = scope(() => {
      let x = randn([1, ...latentShape], { generator: new Generator(3) });
      for (const t of process.timesteps(5))
        x = process.step(x, x.mul(0.5), { t, previous: process.previousTimestep(t, 5), eta: 0 }).mean;
      return x.toNumbers();
    });
    for (const [i, value] of still.values.entries()) expect(value).toBeCloseTo(x[i] as number, 4);
    expect(still.steps.at(-1)).toBe("5/5");
  });

  test("counts its passes: one a step before the candidates and after them, k in between, and a decode only if it looks", () => {
    const meter = new WorkMeter();
    sampled([1], { firstBranch: 1, lastBranch: 2 }, large, meter);
    // Steps 0 and 1 for one latent, 2 for four; the children of step 2 are predicted where they are judged; then 3 and 4 for one.
    expect(meter.take().passes).toMatchObject({ unetSampling: 2 * (1 + 1 + 4 + 4 + 1 + 1), vaeDecode: 0 });
    sampled([1], {}, { score: ({ image }) => scope(() => image().mean([1, 2, 3])) }, meter);
    expect(meter.take().passes).toMatchObject({ unetSampling: 2 * (1 + 1 + 4 * 3), vaeDecode: 4 * 4 });
  });

  test("leaves no tensor behind", () => {
    sampled([1]);
    const before = liveTensors();
    sampled([1], { lastBranch: 3 });
    expect(liveTensors()).toBe(before);
  });
});
