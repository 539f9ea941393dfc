import { grouped, meant, parseOverrides, settingsHelp, settingsOf } from "@spo/records/config";
import { describe, expect, test } from "vitest";
import { SCHEMAS } from "../schemas.js";

describe("a name that there is not", () => {
  const sample = ["count", "guidance-scale", "negative", "steps", "sampler", "out", "dtype", "model"];
  const training = settingsOf(SCHEMAS["train spo"]).map(({ path }) => path);

  test.each([
    ["num-images", "count"],
    ["num_images_per_prompt", "count"],
    ["n", "count"],
    ["cfg", "guidance-scale"],
    ["cfg-scale", "guidance-scale"],
    ["guidanceScale", "guidance-scale"],
    ["negative_prompt", "negative"],
    ["num-inference-steps", "steps"],
    ["scheduler", "sampler"],
    ["sampelr", "sampler"],
  ])("%s was meant to be %s in sampling", (word, name) => {
    expect(meant(word, sample)).toBe(name);
  });

  test.each([
    ["learning_rate", "optimizer.lr"],
    ["lr", "optimizer.lr"],
    ["cfg", "guidanceScale"],
    ["micro-batch", "microBatch"],
    ["gradient_accumulation_steps", "microBatch"],
    ["lora-rank", "rank"],
    ["weight_decay", "optimizer.weightDecay"],
    ["treshold", "threshold"],
    ["goesOn", "continueFrom"],
    ["judged-at", "judgeTimestep"],
    ["marginAmong", "marginSoftmax"],
    ["average", "ema"],
  ])("%s was meant to be %s in a training", (word, name) => {
    expect(meant(word, training)).toBe(name);
  });

  test("may be the last part of a path by another tool's word", () => {
    expect(meant("cfg", ["prompts", "sampling.guidanceScale"])).toBe("sampling.guidanceScale");
  });

  test.each(["zzz", "foo", "x", "somethingelse"])("%s was meant to be nothing", (word) => {
    expect(meant(word, sample)).toBeUndefined();
  });

  test("is compared with the command's own options too", () => {
    expect(() => parseOverrides(SCHEMAS["train spo"], ["--rund", "x"], ["run"])).toThrow(
      "did you mean --run?",
    );
  });

  test("may be written with underscores where it is a setting's", () => {
    expect(parseOverrides(SCHEMAS["train spo"], ["--micro_batch", "2"]).settings).toEqual({ microBatch: 2 });
  });
});

describe("the help of a training", () => {
  test.each(["train spo", "train spm", "train dpo"] as const)(
    "%s has each setting once, under a heading",
    (kind) => {
      const settings = settingsOf(SCHEMAS[kind]);
      const groups = grouped(settings);
      expect(groups.flatMap(({ settings }) => settings.map(({ path }) => path)).toSorted()).toEqual(
        settings.map(({ path }) => path).toSorted(),
      );
      const others = groups.find(({ heading }) => heading === "Others")?.settings.length ?? 0;
      expect(others / settings.length).toBeLessThan(0.2); // a new setting may wait for its heading
    },
  );

  test("says what the command fills in", () => {
    const help = settingsHelp(SCHEMAS["train spo"], {
      width: 200,
      given: { output: "model in the run's folder" },
    });
    expect(help).toMatch(/--output <text> .*\(model in the run's folder\)/);
    expect(help).toMatch(/--prompts <text> .*\(required\)/);
  });
});
