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
