import { describe, expect, test } from "vitest";
import {
  atEqual,
  bestOf,
  bestTrial,
  curvesOf,
  type FinalRun,
  type Findings,
  leads,
  overDpo,
  rows,
  type Validated,
} from "./comparison.js";
import type { ImageVerdict } from "./image-judge.js";
import { nothingSpent, type Spent } from "./spent.js";

const spent = (wall: number): Spent => ({ ...nothingSpent(), wall, cpu: 2 * wall });
const PROMPTS = ["fox", "owl", "egg", "bee", "cat", "dog", "ant", "elk"];
/** Four images of each prompt; onPrompt falls with every third one. */
const images = (score: number): ImageVerdict[] =>
  PROMPTS.flatMap((prompt, p) =>
    [0, 1, 2, 3].map((i) => ({
      prompt,
      seed: i,
      score: score + p / 10 + i / 100,
      onPrompt: (p + i) % 3 > 0,
    })),
  );
const checkpoint = (step: number, wall: number, validation: number): Validated => ({
  step,
  spent: spent(wall),
  validation,
});
/** Quality after each 10 s; the best is chosen. */
function run(seed: number, qualities: readonly number[]): FinalRun {
  const checkpoints = qualities.map((quality, i) => ({
    ...checkpoint(i + 1, 10 * (i + 1), quality),
    curve: images(quality),
  }));
  const chosen = bestOf(checkpoints);
  return { seed, checkpoints, chosen, report: images(qualities[chosen] as number) };
}

const untried = { trials: [], chosen: 0, settings: {}, flops: { ...nothingSpent().passes } };
const preference = { spent: spent(5), settings: {} };
const findings: Findings = {
  base: { validation: 0, curve: images(0), report: images(0) },
  methods: {
    dpo: { ...untried, title: "Diffusion-DPO", runs: [run(0, [0.5, 1, 0.8]), run(1, [0.5, 1, 0.6])] },
    spo: { ...untried, title: "SPO", preference, runs: [run(0, [1, 2]), run(1, [1, 3])] },
  },
};

describe("a comparison", () => {
  const runOf = (validations: number[]) => validations.map((validation, i) => checkpoint(i, i, validation));

  test("chooses the checkpoint that the validator likes best", () => {
    expect(
      [
        [1, 3, 2],
        [2, 2.5],
        [4, 0],
      ].map((list) => bestOf(runOf(list))),
    ).toEqual([1, 1, 0]);
  });

  test("chooses the trial by the mean of its seeds: one lucky run is not enough", () => {
    const trials = [
      [[1, 3, 2], [3.5]],
      [[4, 0], [2]],
      [
        [5, 0],
        [1, 1.2],
      ],
    ].map((runs) => ({ settings: {}, runs: runs.map(runOf) }));
    expect(bestTrial(trials)).toBe(0);
  });

  test("lets SPO's curves begin at the cost of its preference model, as good as the base", () => {
    const [curve] = curvesOf(findings, "spo", { spending: "seconds", withPreference: true });
    expect(curve?.map(({ x }) => x)).toEqual([0, 5, 15, 25]);
    expect(curve?.[1]?.quality).toBe(curve?.[0]?.quality);
    const [alone] = curvesOf(findings, "spo", { spending: "cpuSeconds", withPreference: false });
    expect(alone?.map(({ x }) => x)).toEqual([0, 20, 40]);
  });

  test("says how much sooner SPO is as good as Diffusion-DPO at its best, with and without that cost", () => {
    const of = (withPreference: boolean) =>
      leads(findings).find(
        (lead) =>
          lead.spending === "seconds" && lead.withPreference === withPreference && lead.method === "spo",
      );
    // Diffusion-DPO is at its best after 20 s; SPO is as good after 10 s of its own.
    expect(of(true)?.lead).toMatchObject({ other: 20, own: 15 });
    expect(of(false)?.lead?.ratio).toBeCloseTo(2);
    expect(of(true)?.bySeed).toHaveLength(2);
    const other = leads(findings).find(({ method }) => method === "dpo");
    expect(other?.lead).toMatchObject({ spent: 30 });
    expect(other?.lead?.ratio).toBeUndefined();
    expect(other?.bySeed).toEqual([null, null]);
  });

  test("tests against the base by image and by prompt, over the means of the runs", () => {
    const [base, dpo, spo] = rows(findings);
    expect(base).not.toHaveProperty("wins");
    expect(spo?.wins?.value).toBe(1);
    expect(spo?.signTest).toMatchObject({ images: 32, prompts: 8, byPrompt: expect.closeTo(2 / 2 ** 8, 9) });
    expect(spo?.signTest?.byImage).toBeCloseTo(2 / 2 ** 32, 12);
    expect(spo?.onPromptChange?.value).toBe(0);
    expect(dpo?.seeds?.map(({ seed, wins }) => [seed, wins])).toEqual([
      [0, 1],
      [1, 1],
    ]);
    expect(overDpo(findings, "spo").value).toBe(1);
  });

  test("compares both methods at the same cost, as far as both go", () => {
    const places = atEqual(findings, "seconds", 2);
    expect(places.map(({ x }) => x)).toEqual([12.5, 25]);
    // At 25 s SPO's runs are at 2 and 3, Diffusion-DPO's halfway from 1 to 0.8 and 0.6.
    expect((places[1]?.spo as number) - (places[1]?.base as number)).toBeCloseTo(2.5);
    expect((places[1]?.dpo as number) - (places[1]?.base as number)).toBeCloseTo(0.85);
  });

  test("races every way of SPO against Diffusion-DPO, each with its own preference model", () => {
    const variant = {
      ...{ ...untried, title: "SPO, latent judge", preference: { spent: spent(1), settings: {} } },
      runs: [run(0, [1, 2]), run(1, [1, 3])],
    };
    const all: Findings = { ...findings, methods: { ...findings.methods, latent: variant } };
    expect(rows(all).map(({ name, title }) => [name, title])).toEqual([
      ["base", "base"],
      ["dpo", "Diffusion-DPO"],
      ["spo", "SPO"],
      ["latent", "SPO, latent judge"],
    ]);
    const races = leads(all).filter(
      ({ spending, withPreference }) => spending === "seconds" && withPreference,
    );
    expect(races.map(({ method, over, lead }) => [method, over, lead?.own])).toEqual([
      ["dpo", "spo", undefined],
      ["spo", "dpo", 15],
      ["dpo", "latent", undefined],
      ["latent", "dpo", 11],
    ]);
    // The shortest curve ends after 1 s of a preference model and 20 s of rounds.
    expect(atEqual(all, "seconds", 1).map(({ x }) => x)).toEqual([21]);
    expect(Object.keys(atEqual(all, "seconds", 1)[0] as object)).toEqual([
      "x",
      "base",
      "dpo",
      "spo",
      "latent",
    ]);
    expect(overDpo(all, "latent").value).toBe(1);
  });

  test("has what was measured of the images where all were measured", () => {
    const measured = (score: number, diversity: number): ImageVerdict[] =>
      images(score).map((image) => ({
        ...image,
        measures: { diversity, saturation: 0.5, contrast: 0.2, highFrequency: 0.1 },
      }));
    const { base, methods } = findings;
    const spo = methods.spo as Findings["methods"][string];
    const found = rows({
      base: { ...base, report: measured(0, 0.5) },
      methods: {
        ...methods,
        spo: {
          ...spo,
          runs: spo.runs.map((one, i) => ({ ...one, report: measured(1, 0.2 + 0.2 * i) })),
        },
      },
    });
    expect(found.map(({ measures }) => measures?.diversity.value)).toEqual([
      0.5,
      undefined,
      expect.closeTo(0.3, 12),
    ]);
  });
});
