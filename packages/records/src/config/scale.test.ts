import { expect, test } from "vitest";
import { z } from "zod";
import { resolveConfig } from "./index.js";
import { scaledSettings } from "./scale.js";

const rule = { length: "steps", parts: ["warmup"], intervals: ["evalEvery"] };
const base = { steps: 8000, warmup: 500, evalEvery: 500 };

test("with fewer steps the warm-up is as much shorter and the interval a quarter at most, where they are not given", () => {
  expect(scaledSettings({ steps: 200 }, base, rule)).toEqual({ warmup: 13, evalEvery: 50 });
  expect(scaledSettings({ steps: 200, warmup: 50 }, base, rule)).toEqual({ evalEvery: 50 });
  expect(scaledSettings({ steps: 4000 }, base, rule)).toEqual({ warmup: 250, evalEvery: 500 });
  expect(scaledSettings({ steps: 1 }, base, rule)).toEqual({ warmup: 1, evalEvery: 1 });
});

test("without steps of one's own, with more of them, or without a warm-up nothing changes", () => {
  expect(scaledSettings({}, base, rule)).toEqual({});
  expect(scaledSettings({ steps: 9000 }, base, rule)).toEqual({});
  expect(scaledSettings({ steps: 200 }, { ...base, warmup: 0 }, rule)).toEqual({ evalEvery: 50 });
});

test("a config's presets and defaults are scaled, its files and settings are not", async () => {
  const schema = z.strictObject({
    steps: z.int().default(2000),
    warmup: z.int().default(500),
    evalEvery: z.int().default(100),
  });
  const resolve = (...args: string[]) =>
    resolveConfig(schema, { presets: { short: { steps: 1000, warmup: 200 } }, args, scaled: rule });
  expect(await resolve()).toEqual({ steps: 2000, warmup: 500, evalEvery: 100 });
  expect(await resolve("--steps", "200")).toEqual({ steps: 200, warmup: 50, evalEvery: 50 });
  expect(await resolve("short", "--steps", "100")).toEqual({ steps: 100, warmup: 20, evalEvery: 25 });
  expect(await resolve("short", "--steps", "100", "--warmup", "0")).toEqual({
    steps: 100,
    warmup: 0,
    evalEvery: 25,
  });
});
