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
