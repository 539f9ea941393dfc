import { describe, expect, test } from "vitest";
import { TrainDpoConfig, TrainSpmConfig, TrainSpoConfig } from "../schemas.js";
import { TINY, TINY_SPM } from "../tiny-models.fixture.js";
import { fitInto, halved, type Saving } from "./fit.js";
import { type Plan, planJob } from "./job.js";
import { planModels } from "./models.js";
import { samplingJob } from "./sampling.js";
import { dpoSavings, sampleSavings, spmSavings, spoSavings } from "./savings.js";
import { dpoJob } from "./train-dpo.js";
import { spmJob } from "./train-spm.js";
import { spoJob } from "./train-spo.js";

interface Toy {
  free: number;
  dear: number;
  fixed: boolean;
}
/** A phase for each setting: the larger is the peak. */
const planOf = ({ free, dear, fixed }: Toy): Plan => {
  const [peak, peakIn] = free >= dear ? [free, "update"] : [dear, "decode"];
  // The less there is of `free`, the more work: 200 operations less its value.
  const work = { flops: { forward: 150 - free, backward: 50 } };
  return { memory: { peak: fixed ? peak : peak - 1, peakIn }, work } as unknown as Plan;
};
const savingOf = (key: "free" | "dear", phase: string): Saving<Toy> => ({
  key,
  setting: key,
  cost: "",
  helps: (peakIn) => peakIn === phase,
  next: (toy) => {
    const value = halved(toy[key]);
    return value === undefined ? undefined : { settings: { ...toy, [key]: value }, value: `${value}` };
  },
});
const toySavings = [savingOf("free", "update"), savingOf("dear", "decode")];
const fit = (memory: number, toy: Toy) => fitInto(memory, toy, planOf(toy), toySavings, planOf);

describe("what fits into a memory", () => {
  test("is left as it was asked for where it fits", () => {
    expect(fit(100, { free: 100, dear: 64, fixed: true })).toMatchObject({
      fits: true,
      fitsWith: true,
      savings: [],
    });
  });

  test("is made of the first saving that helps, lowered no further than it must be", () => {
    const found = fit(30, { free: 100, dear: 20, fixed: true });
    expect(found).toMatchObject({ fits: false, fitsWith: true, settings: { free: 25, dear: 20 } });
    expect(found.savings).toEqual([
      { setting: "free", value: "25", cost: "", peak: 25, peakIn: "update", work: 1.75 },
    ]);
  });

  test("takes a saving only while its phase is the peak, and lists each setting once, by its last value", () => {
    const found = fit(30, { free: 100, dear: 90, fixed: true });
    expect(found.settings).toEqual({ free: 25, dear: 22, fixed: true });
    expect(found.savings.map(({ setting, value }) => [setting, value])).toEqual([
      ["free", "25"],
      ["dear", "22"],
    ]);
  });

  test("is told to be none where the smallest is too large", () => {
    expect(fit(0.5, { free: 2, dear: 2, fixed: true })).toMatchObject({ fits: false, fitsWith: false });
  });

  test("has no saving left that is not needed", () => {
    // The first saving lowers the peak a little, the second all of it that is needed.
    const all: Saving<Toy>[] = [
      {
        key: "fixed",
        setting: "fixed",
        cost: "",
        helps: () => true,
        next: (toy) => (toy.fixed ? { settings: { ...toy, fixed: false }, value: "false" } : undefined),
      },
      savingOf("free", "update"),
    ];
    const toy = { free: 100, dear: 1, fixed: true };
    const found = fitInto(60, toy, planOf(toy), all, planOf);
    expect(found.settings).toEqual({ free: 50, dear: 1, fixed: true });
    expect(found.savings).toEqual([
      { setting: "free", value: "50", cost: "", peak: 50, peakIn: "update", work: 1.5 },
    ]);
  });
});

test("a saving that needs another one is tried beside it alone, and the other is then not taken back", () => {
  interface Pair {
    base: number;
    more: number;
  }
  const once = (key: keyof Pair, fits?: (settings: Pair) => boolean): Saving<Pair> => ({
    ...{ key, setting: key, cost: "", helps: () => true, fits },
    next: (settings) =>
      settings[key] === 0 ? undefined : { settings: { ...settings, [key]: 0 }, value: "0" },
  });
  const plan = ({ base, more }: Pair): Plan => {
    if (more === 0 && base !== 0) throw new Error("more without base");
    const peak = 10 + base + more;
    return { memory: { peak, peakIn: "update" }, work: { flops: { forward: 1, backward: 0 } } } as Plan;
  };
  const asked = { base: 1, more: 40 };
  const savings = [once("more", ({ base }) => base === 0), once("base")];
  const found = fitInto(12, asked, plan(asked), savings, plan);
  expect(found).toMatchObject({ fitsWith: true, settings: { base: 0, more: 0 } });
});

describe("of real jobs, a memory of", () => {
  const side = { own: 512, multiple: 8 };
  const models = () => planModels(TINY.sd15, { spm: TINY_SPM });
  const spo = TrainSpoConfig.parse({
    ...{ model: "m", spm: "s", prompts: "p", output: "o" },
    ...{ rounds: 1, promptsPerRound: 4, steps: 6, firstBranch: 2, candidates: 4, batch: 8, microBatch: 8 },
  });
  const dpo = TrainDpoConfig.parse({
    model: "m",
    pairs: ["p"],
    output: "o",
    steps: 3,
    batch: 8,
    microBatch: 8,
  });
  const spm = TrainSpmConfig.parse({ model: "m", init: "i", pairs: ["p"], output: "o", steps: 3, batch: 8 });
  const sample = { batch: 4, dtype: "float32", vaeTiling: "auto", width: 16, height: 16 };
  const spoPlan = (config: typeof spo) => planJob(spoJob(models(), config));
  const dpoPlan = (config: typeof dpo) => planJob(dpoJob(models(), config));
  const spmPlan = (config: typeof spm) => planJob(spmJob(models(), config));
  const samplePlan = ({ batch }: typeof sample) =>
    planJob(samplingJob(models(), { images: 4, batch, steps: 2, guidanceScale: 3, latentSize: [8, 8] }));

  /** Peaks as asked for and as found for just less, and for nothing. */
  function found<S>(settings: S, planOf: (settings: S) => Plan, savings: readonly Saving<S>[]) {
    const plan = planOf(settings);
    const { peak } = plan.memory;
    const less = fitInto(peak - 1, settings, plan, savings, planOf);
    return { peak, less, after: planOf(less.settings).memory.peak };
  }

  test.each([
    ["SPO", () => found(spo, spoPlan, spoSavings(side).slice(0, 2)), "microBatch"],
    ["Diffusion-DPO", () => found(dpo, dpoPlan, dpoSavings(side).slice(0, 2)), "microBatch"],
    ["a preference model", () => found(spm, spmPlan, spmSavings(side).slice(0, 2)), "microBatch"],
    ["sampling", () => found(sample, samplePlan, sampleSavings<typeof sample>()), "batch"],
  ])("one byte less than %s needs is found by what costs nothing first", (_, job, setting) => {
    const { peak, less, after } = job();
    expect(less.savings.map((saved) => saved.setting)).toEqual([setting]);
    expect(less.fitsWith).toBe(true);
    expect(after).toBe(less.savings.at(-1)?.peak);
    expect(after).toBeLessThan(peak);
  });
});
