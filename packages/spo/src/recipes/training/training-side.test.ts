import { NoiseSchedule, type SchedulerConfig, type TextToImage } from "@spo/diffusion";
import { expect, test } from "vitest";
import { trainingSide } from "./training-side.js";

const sideOf = (scheduler: SchedulerConfig, resolution: number | null = null): number =>
  trainingSide(
    {
      schedule: new NoiseSchedule(scheduler),
      unet: { config: { sample_size: 16 } },
      vae: { factor: 8 },
    } as unknown as TextToImage,
    resolution,
  );

test("a training whose loss would not be that of the model's own steps is refused, naming the setting", () => {
  expect(sideOf({ clip_sample: false, thresholding: false })).toBe(128);
  expect(() => sideOf({ clip_sample: true })).toThrow(/clip_sample/);
  expect(() => sideOf({ thresholding: true })).toThrow(/thresholding/);
  expect(() => sideOf({ prediction_type: "sample" })).toThrow(/sample/);
  expect(() => sideOf({ prediction_type: "v_prediction" })).toThrow(/v_prediction/);
  expect(() => sideOf({}, 100)).toThrow(/100/);
});
