import { checkConfig } from "@spo/records/config";
import { expect, test } from "vitest";
import { TrainDpoConfig, TrainSpmConfig, TrainSpoConfig } from "../schemas.js";
import { dpoPresets, spmPresets, spoPresets } from "./index.js";

test("every preset is a whole config once the folders are given", () => {
  const common = { model: "m", output: "o" };
  for (const preset of Object.values(spmPresets))
    expect(checkConfig(TrainSpmConfig, { ...common, init: "i", pairs: ["p"], ...preset })).toMatchObject(
      preset,
    );
  for (const preset of Object.values(spoPresets))
    expect(checkConfig(TrainSpoConfig, { ...common, spm: "s", prompts: "p", ...preset })).toMatchObject(
      preset,
    );
  for (const preset of Object.values(dpoPresets))
    expect(checkConfig(TrainDpoConfig, { ...common, pairs: ["p"], ...preset })).toMatchObject(preset);
});

test("the defaults of the recipes are the published settings of SD1.5, but for the SPM's batch on four GPUs", () => {
  const spo = TrainSpoConfig.parse({ model: "m", output: "o", spm: "s", prompts: "p" });
  expect(spo).toMatchObject(spoPresets.sd15 as object);
  const spm = TrainSpmConfig.parse({ model: "m", output: "o", init: "i", pairs: ["p"] });
  expect({ ...spm, batch: 64, microBatch: 16 }).toMatchObject(spmPresets.sd15 as object);
  const dpo = TrainDpoConfig.parse({ model: "m", output: "o", pairs: ["p"] });
  expect({ ...dpo, resolution: 512 }).toMatchObject(dpoPresets.sd15 as object); // null: the model's own
});

test("the latent presets compare every step, and differ from SPO's by the published numbers alone", () => {
  const { sd15, "lpo-sd15": lpo, "lpo-sdxl": xl } = spoPresets;
  const differing = (a: object = {}, b: object = {}): string[] =>
    Object.keys(b).filter(
      (key) => JSON.stringify(a[key as keyof typeof a]) !== JSON.stringify(b[key as keyof typeof b]),
    );
  expect(differing(sd15, lpo).sort()).toEqual(
    [
      "beta",
      "firstBranch",
      "judgeTimestep",
      "promptsPerRound",
      "threshold",
      "thresholdBy",
      "thresholdMax",
    ].sort(),
  );
  expect(lpo).toMatchObject({ firstBranch: 0, beta: 500, threshold: 0.35, thresholdMax: 0.5 });
  expect(xl).toMatchObject({ candidates: 4, innerSteps: 0, rank: 64, threshold: 0.45, thresholdMax: 0.6 });
  for (const preset of [lpo, xl])
    expect((preset?.rounds as number) * (preset?.promptsPerRound as number)).toBe(5 * 4000);
});

test("the presets of flow models have the noise and the window of their sources, and branch where a step has spread", () => {
  const { "sd35-medium": sd35, "flux-dev": flux } = spoPresets;
  expect(sd35).toMatchObject({ steps: 10, eta: 0.7, etaBefore: 0, guidanceScale: 4.5, ratio: "normalised" });
  expect(sd35).toMatchObject({ firstBranch: 1, lastBranch: 7, rank: 32, alpha: 64, resolution: 512 });
  expect(flux).toMatchObject({ firstBranch: 1, lastBranch: 3, rank: 64, alpha: 128, guidanceScale: 3.5 });
  expect(spoPresets["sd35-medium-12gb"]).toMatchObject({ ...sd35, microBatch: 1 });
  const { "sd35-medium": dpo, "flux-dev": fluxDpo } = dpoPresets;
  expect(dpo).toMatchObject({ beta: 100, adapter: "lora", rank: 32, alpha: 64 });
  expect(fluxDpo).toMatchObject({ rank: 64, alpha: 128, guidanceScale: 3.5 });
});
