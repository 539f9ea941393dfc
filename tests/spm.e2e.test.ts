// Training a preference model from a stream of pairs: any layout, parts of a batch, SDXL with labels made anew, numbers that run away.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { convertPairs, openPairs } from "@spo/data";
import { listCheckpoints } from "@spo/records";
import { loadSpm } from "spo";
import { TrainSpmConfig, trainSpm } from "spo/recipes";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeTinyWorld, type TinyWorld } from "./tiny-models.js";
import { trainingsIn } from "./trainings.js";

const folder = mkdtempSync(join(tmpdir(), "spo-spm-"));
const { eventsOf, metricsOf, computed, ...trainings } = trainingsIn(folder);
let world: TinyWorld;
let xl: TinyWorld;
beforeAll(async () => {
  world = await makeTinyWorld(join(folder, "world"));
  xl = await makeTinyWorld(join(folder, "world-xl"), "sdxl");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const configOf = (name: string, settings: object = {}): TrainSpmConfig =>
  TrainSpmConfig.parse({
    ...{ model: world.model, init: world.spm, pairs: [world.pairs], output: join(folder, name, "model") },
    ...{ steps: 12, batch: 6, warmup: 1, saveEvery: 5, evalEvery: 6, optimizer: { lr: 1e-3 } },
    ...settings,
  });

const train = (name: string, settings: object = {}, stopAfter?: number): Promise<void> =>
  trainings.train("train spm", trainSpm, { name, config: configOf(name, settings), stopAfter });
const weightsOf = (name: string) => trainings.weightsOf(name, "model.safetensors");

describe("training on a stream of pairs", () => {
  test("stopped and gone on with computes, bit for bit, what an unbroken run does, over several epochs", async () => {
    await train("whole");
    for (const step of [2, 7]) await expect(train("broken", {}, step)).rejects.toThrow("stopped");
    await train("broken");
    expect(computed("broken")).toEqual(computed("whole"));
    expect(weightsOf("broken")).toEqual(weightsOf("whole"));
  });

  test("from a folder of images computes the same by either kind of list", async () => {
    for (const to of ["jsonl", "csv"] as const) {
      const source = await openPairs(world.pairs);
      await convertPairs(source, { to, output: join(folder, to) });
      await source.close();
    }
    const settings = { steps: 3, evalPairs: 0 };
    await train("of-jsonl", { ...settings, pairs: [join(folder, "jsonl")] });
    await train("of-csv", { ...settings, pairs: [join(folder, "csv")] });
    expect(computed("of-csv")).toEqual(computed("of-jsonl"));
    expect(computed("of-csv")).toHaveLength(3);
  });

  test("in parts has the loss and the gradient of the whole batch", async () => {
    const settings = { steps: 2, warmup: 0, evalPairs: 0 };
    await train("parts", { ...settings, microBatch: 2 });
    await train("at-once", settings);
    const [parts, once] = [metricsOf("parts"), metricsOf("at-once")];
    for (const [i, { loss, gradNorm, accuracy }] of parts.entries()) {
      // Decoded predictions are rounded to bytes, and their last bit depends on how many are computed together.
      expect(loss).toBeCloseTo(once[i]?.loss as number, 3);
      expect(Math.abs((gradNorm as number) / (once[i]?.gradNorm as number) - 1)).toBeLessThan(0.02);
      expect(accuracy).toBeCloseTo(once[i]?.accuracy as number, 6);
    }
  });

  test("counts its passes, and measuring is none of them", async () => {
    const work = eventsOf("whole").flatMap((event) => (event.type === "step" ? [event.passes] : []));
    for (const passes of work) {
      expect(passes).toMatchObject({ vaeEncode: 12, unetReference: 24, vaeDecode: 12, judgeImage: 12 });
    }
  });

  test("from a bank tells what the bank took, and goes on bit for bit", async () => {
    const settings = { steps: 3, batch: 4, bank: 8, saveEvery: 1, evalEvery: 3, evalTimesteps: [0] };
    await train("bank", settings);
    const phases = (name: string): number[] =>
      eventsOf(name).flatMap((event) => (event.type === "phase" ? [event.done] : []));
    expect(phases("bank")).toEqual([4, 8]);
    await expect(train("bank-broken", settings, 2)).rejects.toThrow("stopped");
    await train("bank-broken", settings);
    expect(computed("bank-broken")).toEqual(computed("bank"));
    expect(weightsOf("bank-broken")).toEqual(weightsOf("bank"));
  });

  test("measures a part of the held-out pairs, or none", async () => {
    await train("few", { steps: 2, evalPairs: 3, evalTimesteps: [0, 501] });
    const [first] = eventsOf("few").flatMap((event) => (event.type === "eval" ? [event.metrics] : []));
    expect(Object.keys(first ?? {})).toEqual(["accuracy/t=0", "accuracy/t=501"]);
    for (const share of Object.values(first ?? {}))
      expect([0, 1, 2, 3]).toContain(Math.round(3 * (share ?? -1)));
    await train("unmeasured", { steps: 2, evalPairs: 0 });
    expect(eventsOf("unmeasured").filter(({ type }) => type === "eval")).toHaveLength(0);
  });

  test("whose numbers run away stops after ten updates that were left out, and saves none of them", async () => {
    const settings = { steps: 20, warmup: 0, saveEvery: 1, evalPairs: 0, optimizer: { lr: 1e30 } };
    await expect(train("away", settings)).rejects.toMatchObject({ name: "UserError", code: "NUMERIC" });
    const steps = listCheckpoints(join(folder, "away", "checkpoints")).map(({ step }) => step);
    expect(Math.max(...steps)).toBeLessThan(4);
    const warnings = eventsOf("away").flatMap((event) => (event.type === "warn" ? [event.message] : []));
    expect(warnings).toHaveLength(9);
    expect(warnings.at(-1)).toMatch(/update skipped, 9 in a row/);
  });

  test("names a split that has no pair, and what there is", async () => {
    await expect(train("none", { split: "tset" })).rejects.toThrow(/no pair of the split tset.*18 of train/s);
  });
});

describe("training for SDXL", () => {
  const settings = (): object => ({ model: xl.model, init: xl.spm, pairs: [xl.pairs], steps: 6, batch: 4 });

  test("uses both text encoders and the size, and goes on bit for bit", async () => {
    await train("xl", settings());
    await expect(train("xl-broken", settings(), 3)).rejects.toThrow("stopped");
    await train("xl-broken", settings());
    expect(computed("xl-broken")).toEqual(computed("xl"));
    expect(weightsOf("xl-broken")).toEqual(weightsOf("xl"));
    expect(loadSpm(join(folder, "xl", "model")).spm.config).toEqual(loadSpm(xl.spm).spm.config);
  });

  test("learns labels made anew from a scorer of the clean images", async () => {
    const by = `spm:${xl.spm},tokenizer=${join(xl.model, "tokenizer")}`;
    // Before any training the scorer that labels and the one that learns are one: on clean images it is always right.
    await train("relabelled", {
      ...settings(),
      relabel: { by, threshold: 0 },
      steps: 1,
      evalTimesteps: [0],
    });
    const [first] = eventsOf("relabelled").flatMap((event) => (event.type === "eval" ? [event.metrics] : []));
    expect(first?.["accuracy/t=0"]).toBe(1);
    // Nothing is far enough apart: all are ties, whose ideal is a loss of 0.
    await train("all-ties", { ...settings(), relabel: { by, threshold: 1 }, steps: 1, evalPairs: 0 });
    const labelled = metricsOf("relabelled")[0]?.loss as number;
    const tied = metricsOf("all-ties")[0]?.loss as number;
    expect(tied).toBeGreaterThanOrEqual(0);
    expect(tied).toBeLessThan(labelled);
    expect(metricsOf("all-ties")[0]?.accuracy).toBe(0.5);
  });

  test("says that a step-aware model is no plain scorer to label by", async () => {
    await expect(train("no-scorer", { ...settings(), relabel: {} })).rejects.toThrow(
      /step-aware preference model, not a plain CLIP/,
    );
  });
});
