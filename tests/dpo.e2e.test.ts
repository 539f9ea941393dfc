import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readSafetensors } from "@spo/torch";
import { TrainDpoConfig, trainDpo } from "spo/recipes";
import { computedPart, listCheckpoints, Run, readRun } from "spo/records";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeTinyWorld, type TinyWorld } from "./tiny-models.js";

let folder: string;
let world: TinyWorld;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-dpo-"));
  world = await makeTinyWorld(join(folder, "world"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const configOf = (name: string, settings: object = {}): TrainDpoConfig =>
  TrainDpoConfig.parse({
    ...{ model: world.model, pairs: [world.pairs], output: join(folder, name, "model") },
    ...{ steps: 30, batch: 6, microBatch: 6, adapter: "lora", rank: 2, warmup: 2, saveEvery: 7 },
    ...{ optimizer: { lr: 1e-2 }, evalPairs: 6, evalEvery: 15 },
    ...settings,
  });

/** Trains in this process; `stopAfter` a step it is interrupted as by Ctrl-C. */
async function train(name: string, settings: object = {}, stopAfter?: number): Promise<void> {
  const config = configOf(name, settings);
  const controller = new AbortController();
  const run = Run.open(join(folder, name), { kind: "train dpo", config });
  try {
    for await (const event of trainDpo(config, { run, signal: controller.signal }))
      if (event.type === "step" && event.step === stopAfter) controller.abort(new Error("stopped"));
  } finally {
    run.close();
  }
}

const eventsOf = (name: string) => readRun(join(folder, name)).events;
const metricsOf = (name: string): Record<string, number | null>[] =>
  eventsOf(name).flatMap((event) => (event.type === "step" ? [event.metrics] : []));
const mean = (values: (number | null | undefined)[]): number =>
  values.reduce<number>((sum, value) => sum + (value as number), 0) / values.length;
/** Every number of the result: the file also says when it was written. */
const loraOf = (name: string): [string, number[]][] =>
  [...readSafetensors(join(folder, name, "model", "pytorch_lora_weights.safetensors"))].map(
    ([key, value]) => [key, value.toNumbers()],
  );

describe("Diffusion-DPO", () => {
  test("starts at ln 2, measures held-out pairs, and counts the passes that the loss needs", async () => {
    await train("whole");
    const metrics = metricsOf("whole");
    expect(metrics).toHaveLength(30);
    expect(metrics[0]?.loss).toBeCloseTo(Math.LN2, 3);
    expect(metrics[0]?.accuracy).toBeLessThanOrEqual(1);
    const evaluations = eventsOf("whole").flatMap((event) => (event.type === "eval" ? [event] : []));
    expect(evaluations.map(({ step }) => step)).toEqual([0, 15, 30]);
    const work = eventsOf("whole").find((event) => event.type === "step" && event.step === 2);
    expect(work).toMatchObject({
      passes: { vaeEncode: 12, unetPolicy: 12, unetReference: 12, unetBackward: 12 },
    });
  });

  test("stopped and gone on with computes, bit for bit, what an unbroken run does", async () => {
    for (const step of [4, 9, 23]) await expect(train("broken", {}, step)).rejects.toThrow("stopped");
    await train("broken");
    const computed = (name: string) => computedPart(eventsOf(name)).filter(({ type }) => type !== "done");
    expect(computed("broken")).toEqual(computed("whole"));
    expect(loraOf("broken")).toEqual(loraOf("whole"));
  });

  test("draws the same times, noise and pairs whatever the size of a backward pass", async () => {
    await train("small", { microBatch: 2, steps: 3, warmup: 0 });
    await train("large", { microBatch: 6, steps: 3, warmup: 0 });
    const [small, large] = [metricsOf("small"), metricsOf("large")];
    for (const [i, { loss, gradNorm }] of small.entries()) {
      expect(loss).toBeCloseTo(large[i]?.loss as number, 2); // β/2 = 2500 magnifies rounding
      expect(Math.abs((gradNorm as number) / (large[i]?.gradNorm as number) - 1)).toBeLessThan(0.02);
    }
  });

  test("trains the whole UNet with Adafactor, against the frozen one", async () => {
    await train("full", {
      adapter: "full",
      steps: 4,
      warmup: 0,
      evalPairs: 0,
      optimizer: { kind: "adafactor", lr: 1e-3 },
    });
    expect(metricsOf("full")[0]?.loss).toBeCloseTo(Math.LN2, 3);
    const weights = readSafetensors(
      join(folder, "full", "model", "unet", "diffusion_pytorch_model.safetensors"),
    );
    expect([...weights.values()].every((value) => value.isfinite().all().item())).toBe(true);
  });

  test("as fine-tuning on the winners has no reference, and its loss falls", async () => {
    const settings = {
      objective: "sft",
      adapter: "full",
      batch: 12,
      microBatch: 12,
      mirror: false,
      emptyPrompts: 0,
    };
    await train("sft", { ...settings, optimizer: { lr: 3e-3 } });
    const metrics = metricsOf("sft");
    expect(Object.keys(metrics[0] ?? {})).toEqual(["loss", "gradNorm"]);
    expect(mean(metrics.slice(-8).map(({ loss }) => loss))).toBeLessThan(
      mean(metrics.slice(0, 4).map(({ loss }) => loss)),
    );
    const work = eventsOf("sft").find((event) => event.type === "step");
    expect(work).toMatchObject({ passes: { unetPolicy: 12, unetReference: 0, unetBackward: 12 } });
  });

  test("whose numbers run away stops after ten updates that were left out, and saves none of them", async () => {
    const settings = { steps: 20, warmup: 0, saveEvery: 1, evalPairs: 0, optimizer: { lr: 1e30 } };
    await expect(train("away", settings)).rejects.toMatchObject({ name: "UserError", code: "NUMERIC" });
    const steps = listCheckpoints(join(folder, "away", "checkpoints")).map(({ step }) => step);
    expect(Math.max(...steps)).toBeLessThan(3);
    const skipped = eventsOf("away").filter(({ type }) => type === "warn");
    expect(skipped).toHaveLength(9);
  });

  test("names every pair that it cannot be trained on", async () => {
    await expect(train("none", { split: "tset" })).rejects.toThrow(/no pair of the split tset/);
  });
});
