// Half precision, loss scaling, gradient checkpointing and memory formats, through the recipes.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TrainDpoConfig, TrainSpoConfig, trainDpo, trainSpo } from "spo/recipes";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeTinyWorld, type TinyWorld } from "./tiny-models.js";
import { trainingsIn } from "./trainings.js";

const folder = mkdtempSync(join(tmpdir(), "spo-memory-"));
const { metricsOf, computed, weightsOf, train } = trainingsIn(folder);
let world: TinyWorld;
beforeAll(async () => {
  world = await makeTinyWorld(join(folder, "world"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function trainByDpo(name: string, settings: object = {}, stopAfter?: number): Promise<void> {
  const config = TrainDpoConfig.parse({
    ...{ model: world.model, pairs: [world.pairs], output: join(folder, name, "model") },
    ...{ steps: 8, batch: 4, microBatch: 2, adapter: "lora", rank: 2, warmup: 0, saveEvery: 3 },
    ...{ optimizer: { lr: 1e-3 } },
    ...settings,
  });
  return train("train dpo", trainDpo, { name, config, stopAfter });
}

function trainBySpo(name: string, settings: object = {}, stopAfter?: number): Promise<void> {
  const config = TrainSpoConfig.parse({
    ...{ model: world.model, spm: world.spm, prompts: world.prompts, output: join(folder, name, "model") },
    ...{ rounds: 4, promptsPerRound: 2, steps: 6, firstBranch: 2, candidates: 2, threshold: 0 },
    ...{ batch: 4, microBatch: 2, rank: 2, saveEvery: 1, samples: 0, optimizer: { lr: 1e-3 } },
    ...settings,
  });
  return train("train spo", trainSpo, { name, config, stopAfter });
}

const closeTo = (name: string, other: string, tolerance: number): void => {
  for (const [i, { loss }] of metricsOf(name).entries())
    expect(Math.abs((loss as number) - (metricsOf(other)[i]?.loss as number))).toBeLessThan(tolerance);
};

describe("Diffusion-DPO", () => {
  test("with gradient checkpointing computes, bit for bit, what it does without", async () => {
    await trainByDpo("plain");
    await trainByDpo("checkpointed", { gradientCheckpointing: true });
    expect(computed("checkpointed")).toEqual(computed("plain"));
    expect(weightsOf("checkpointed")).toEqual(weightsOf("plain"));
    expect(metricsOf("plain")[0]).not.toHaveProperty("lossScale");
  });

  test("of the whole UNet too", async () => {
    const full = { adapter: "full", steps: 3 };
    await trainByDpo("plain-full", full);
    await trainByDpo("checkpointed-full", { ...full, gradientCheckpointing: true });
    expect(computed("checkpointed-full")).toEqual(computed("plain-full"));
  });

  test("in bfloat16 stays near float32, with or without checkpointing to the same bits", async () => {
    const half = { dtype: "bfloat16", objective: "sft" }; // not magnified by beta
    await trainByDpo("float32", { objective: "sft" });
    await trainByDpo("bfloat16", half);
    await trainByDpo("bfloat16-checkpointed", { ...half, gradientCheckpointing: true });
    expect(computed("bfloat16-checkpointed")).toEqual(computed("bfloat16"));
    closeTo("bfloat16", "float32", 0.02);
    expect(weightsOf("bfloat16")).not.toEqual(weightsOf("float32"));
  });

  test("in float16 leaves out updates whose gradients overflow, and goes on after a stop to the same bits", async () => {
    const half = { dtype: "float16", steps: 12 };
    await trainByDpo("float16", half);
    for (const step of [2, 5]) await expect(trainByDpo("stopped", half, step)).rejects.toThrow("stopped");
    await trainByDpo("stopped", half);
    expect(computed("stopped")).toEqual(computed("float16"));
    expect(weightsOf("stopped")).toEqual(weightsOf("float16"));
    const metrics = metricsOf("float16");
    expect(metrics[0]?.lossScale).toBe(65536);
    const overflows = metrics.filter(({ overflow }) => overflow === 1).length;
    expect(overflows).toBeGreaterThan(0);
    expect(overflows).toBeLessThan(metrics.length);
    expect(metrics.at(-1)?.lossScale).toBe(
      65536 * 0.5 ** metrics.slice(0, -1).filter((m) => m.overflow).length,
    );
  });

  test("with either memory format computes the same to rounding", async () => {
    await trainByDpo("row-major", { memoryFormat: "contiguous" });
    await trainByDpo("channels-last", { memoryFormat: "channels_last" });
    expect(computed("channels-last")).toEqual(computed("plain"));
    closeTo("row-major", "plain", 1e-2);
  });
});

describe("SPO", () => {
  test("with gradient checkpointing computes, bit for bit, what it does without", async () => {
    await trainBySpo("spo-plain");
    await trainBySpo("spo-checkpointed", { gradientCheckpointing: true });
    expect(computed("spo-checkpointed")).toEqual(computed("spo-plain"));
    expect(weightsOf("spo-checkpointed")).toEqual(weightsOf("spo-plain"));
  });

  test("in float16 scales its loss, and goes on after a stop to the same bits", async () => {
    const half = { dtype: "float16", gradientCheckpointing: true };
    await trainBySpo("spo-float16", half);
    await expect(trainBySpo("spo-stopped", half, 2)).rejects.toThrow("stopped");
    await trainBySpo("spo-stopped", half);
    expect(computed("spo-stopped")).toEqual(computed("spo-float16"));
    for (const { loss, lossScale } of metricsOf("spo-float16")) {
      expect(loss).toBeGreaterThan(0);
      expect(Math.log2(lossScale as number) % 1).toBe(0);
    }
    expect(metricsOf("spo-float16").some(({ overflow }) => overflow === 0)).toBe(true);
  });

  test("of the whole UNet in bfloat16 learns in float32 against a base in bfloat16", async () => {
    await trainBySpo("spo-full", { dtype: "bfloat16", adapter: "full", rounds: 2 });
    const losses = metricsOf("spo-full").map(({ loss }) => loss as number);
    expect(losses.length).toBeGreaterThan(0);
    expect(losses[0]).toBeCloseTo(Math.LN2, 2);
  });
});
