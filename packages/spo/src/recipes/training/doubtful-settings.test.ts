import { expect, test } from "vitest";
import { doubtfulJudge, doubtfulSettings } from "./doubtful-settings.js";

const settings = { steps: 200, warmup: 20, evalPairs: 10, evalEvery: 50 };

test("a warm-up that is as long as the training or longer is told, with the rate that is reached", () => {
  expect(doubtfulSettings(settings)).toEqual([]);
  expect(doubtfulSettings({ ...settings, warmup: 199 })).toEqual([]);
  // The last update is at step 199 of 500.
  expect(doubtfulSettings({ ...settings, warmup: 500 })).toEqual([
    expect.stringMatching(/warmup is 500 .*40 %/),
  ]);
  expect(doubtfulSettings({ ...settings, warmup: 200 })).toEqual([expect.stringMatching(/100 %/)]);
  expect(doubtfulSettings({ ...settings, steps: 1, warmup: 0 })).toEqual([]);
});

test("a training that measures nothing between its ends is told, unless it is to measure nothing", () => {
  expect(doubtfulSettings({ ...settings, evalEvery: 500 })).toEqual([
    expect.stringMatching(/evalEvery is 500/),
  ]);
  expect(doubtfulSettings({ ...settings, evalEvery: 200 })).toEqual([]); // the ends alone, as it seems to be meant
  expect(doubtfulSettings({ ...settings, evalEvery: 500, evalPairs: 0 })).toEqual([]);
});

test("a judge below one half is told, with the timesteps", () => {
  expect(doubtfulJudge({ "accuracy/t=0": 0.5, "accuracy/t=951": null })).toBeUndefined();
  expect(doubtfulJudge({ "accuracy/t=0": 0.37, "accuracy/t=501": 0.6, "accuracy/t=951": 0.49 })).toMatch(
    /37 % at t = 0, 49 % at t = 951/,
  );
});
