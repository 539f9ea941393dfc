import { type SchedulerConfig, type TextToImage, VpSchedule } from "@spo/diffusion";
import { expect, test } from "vitest";
import { trainingSide } from "./training-side.js";

const sideOf = (scheduler: SchedulerConfig, resolution: number | null = null): number =>
  trainingSide(
    {
      process: new VpSchedule(scheduler),
      denoiser: { sampleSize: [16, 16] },
      vae: { factor: 8 },
    } as unknown as TextToImage,
    resolution,
  );

test("a training without a loss for what the model predicts is refused, naming the setting; bounds of x̂0 are none of it", () => {
  expect(sideOf({ clip_sample: true, thresholding: true })).toBe(128);
  expect(() => sideOf({ prediction_type: "sample" })).toThrow(/sample/);
  expect(sideOf({ prediction_type: "v_prediction" })).toBe(128);
  expect(() => sideOf({}, 100)).toThrow(/100/);
});
