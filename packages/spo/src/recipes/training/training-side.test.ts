import { type SchedulerConfig, type TextToImage, VpSchedule } from "@spo/diffusion";
import { expect, test } from "vitest";
import { trainingSide } from "./training-side.js";

const sideOf = (scheduler: SchedulerConfig, resolution: number | null = null, latentMultiple = 1): number =>
  trainingSide(
    {
      process: new VpSchedule(scheduler),
      denoiser: { sampleSize: [16, 16], latentMultiple },
      vae: { factor: 8 },
    } as unknown as TextToImage,
    resolution,
  );

test("a training without a loss for what the model predicts is refused, naming the setting; bounds of x̂0 are none of it", () => {
  expect(sideOf({ clip_sample: true, thresholding: true })).toBe(128);
  expect(() => sideOf({ prediction_type: "sample" })).toThrow(/sample/);
  expect(sideOf({ prediction_type: "v_prediction" })).toBe(128);
  expect(() => sideOf({}, 100)).toThrow("resolution 100 is no multiple of 8, the VAE's factor.");
  expect(sideOf({}, 104)).toBe(104);
  expect(() => sideOf({}, 104, 2)).toThrow(
    "no multiple of 16, the VAE's factor 8 times the side of a patch 2",
  );
});
