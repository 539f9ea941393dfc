import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { computedPart, listCheckpoints, readRun } from "@spo/records";
import { powerDecay, readSafetensors } from "@spo/torch";
import { asyncBufferFromFile, parquetReadObjects } from "hyparquet";
import { parquetWriteBuffer } from "hyparquet-writer";
import { TrainDpoConfig, trainDpo } from "spo/recipes";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cli, type Ended, words } from "./cli.js";
import { makeTinyWorld, type TinyWorld } from "./tiny-models.js";
import { trainingsIn } from "./trainings.js";

const EXAMPLE = fileURLToPath(new URL("../examples/emoji", import.meta.url));

const folder = mkdtempSync(join(tmpdir(), "spo-dpo-"));
const { eventsOf, metricsOf, computed, weightsOf, ...trainings } = trainingsIn(folder);
let world: TinyWorld;
beforeAll(async () => {
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

const train = (name: string, settings: object = {}, stopAfter?: number): Promise<void> =>
  trainings.train("train dpo", trainDpo, { name, config: configOf(name, settings), stopAfter });
const mean = (values: (number | null | undefined)[]): number =>
  values.reduce<number>((sum, value) => sum + (value as number), 0) / values.length;

/** The first training pairs of the example that are of real artwork over a sample. */
async function fewRealPairs(path: string, count: number): Promise<void> {
  const columns = ["caption", "jpg_0", "jpg_1", "label_0", "label_1", "num_example_per_prompt", "split"];
  const file = await asyncBufferFromFile(join(EXAMPLE, "data", "pairs.parquet"));
  const all = await parquetReadObjects({ file, utf8: false, columns: [...columns, "kind"] });
  const rows = all.filter(({ split, kind }) => split === "train" && kind === "real").slice(0, count);
  const types = ["STRING", "BYTE_ARRAY", "BYTE_ARRAY", "DOUBLE", "DOUBLE", "INT32", "STRING"] as const;
  const columnData = columns.map((name, i) => ({
    name,
    data: rows.map((row) => row[name]),
    type: types[i] as (typeof types)[number],
  }));
  writeFileSync(path, new Uint8Array(parquetWriteBuffer({ columnData })));
}

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
    expect(computed("broken")).toEqual(computed("whole"));
    expect(weightsOf("broken")).toEqual(weightsOf("whole"));
  });

  test("goes on when the pairs under its path were exchanged, and says so once", async () => {
    const pairs = join(folder, "exchanged.parquet");
    copyFileSync(world.pairs, pairs);
    const settings = { pairs: [pairs], steps: 8, evalPairs: 0, saveEvery: 2 };
    const warnings = (): string[] =>
      eventsOf("exchanged").flatMap((event) => (event.type === "warn" ? [event.message] : []));
    for (const step of [2, 4]) await expect(train("exchanged", settings, step)).rejects.toThrow("stopped");
    expect(warnings()).toEqual([]);
    await fewRealPairs(pairs, 7);
    await train("exchanged", settings);
    expect(warnings()).toEqual([expect.stringMatching(/data are not those .*pairs was \d+ and is 7/)]);
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

  test("with an average leaves that of its steps' weights, also when it was stopped between", async () => {
    const settings = { warmup: 0, evalPairs: 0, saveEvery: 1 };
    for (const steps of [1, 2, 3]) await train(`after-${steps}`, { ...settings, steps });
    const averaging = { ...settings, steps: 3, ema: 0.2 };
    await train("averaged", averaging);
    await expect(train("averaged-broken", averaging, 2)).rejects.toThrow("stopped");
    await train("averaged-broken", averaging);
    expect(weightsOf("averaged-broken")).toEqual(weightsOf("averaged"));

    const decayAt = powerDecay(0.2);
    const [first, second, third] = [1, 2, 3].map((steps) => new Map(weightsOf(`after-${steps}`)));
    for (const [name, averages] of weightsOf("averaged")) {
      const of = (weights: typeof first, i: number): number => weights?.get(name)?.[i] as number;
      for (const [i, average] of averages.entries()) {
        const earlier = decayAt(1) * of(first, i) + (1 - decayAt(1)) * of(second, i);
        expect(average).toBeCloseTo(decayAt(2) * earlier + (1 - decayAt(2)) * of(third, i), 6);
      }
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
    expect(Object.keys(metrics[0] ?? {})).toEqual(["loss", "gradNorm", "lr"]);
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

  test("on a few real pairs comes to prefer the winners: its loss on fixed noise falls, its implicit accuracy rises", async () => {
    await fewRealPairs(join(folder, "few.parquet"), 8);
    await train("learns", {
      ...{ model: join(EXAMPLE, "model"), pairs: [join(folder, "few.parquet")], adapter: "full" },
      ...{ steps: 9, batch: 8, microBatch: 8, warmup: 3, mirror: false, emptyPrompts: 0, beta: 200 },
      ...{ optimizer: { lr: 1e-4 }, evalPairs: 8, evalSplit: "train", evalEvery: 3, saveEvery: 9 },
    });
    const held = eventsOf("learns").flatMap((event) => (event.type === "eval" ? [event.metrics] : []));
    const losses = held.map(({ loss }) => loss as number);
    expect(losses[0]).toBeCloseTo(Math.LN2, 4);
    expect([...losses].sort((x, y) => y - x)).toEqual(losses);
    expect(losses.at(-1)).toBeLessThan(0.5 * Math.LN2);
    expect(held.at(-1)?.accuracy).toBeGreaterThanOrEqual(7 / 8);
  });

  test("names every pair that it cannot be trained on", async () => {
    await expect(train("none", { split: "tset" })).rejects.toThrow(/no pair of the split tset/);
  });
});

describe.each([
  ["sd15", "--adapter lora --rank 2 --optimizer.lr 1e-3"],
  ["sdxl", "--adapter full --optimizer.kind adafactor --optimizer.lr 1e-4"],
] as const)("train dpo on %s by the command line, with %s", (family, settings) => {
  let models: TinyWorld;
  beforeAll(async () => {
    models = family === "sd15" ? world : await makeTinyWorld(join(folder, family), family);
  });

  const command = (run: string): string[] => [
    ...words(`train dpo --steps 12 --batch 4 --micro-batch 2 --warmup 2 --save-every 3 ${settings}`),
    ...["--eval-pairs", "4", "--eval-every", "6", "--model", models.model, "--pairs", models.pairs],
    ...["--run", join(folder, `${family}-${run}`)],
  ];

  /** Events without times and paths, and every byte of the last state and of the result. */
  function outcomeOf(run: string): object {
    const at = join(folder, `${family}-${run}`);
    const { events, checkpoints } = readRun(at);
    const bytes = (path: string): string => readFileSync(path).toString("base64");
    const output = join(at, "model", ...(settings.includes("full") ? ["unet"] : []));
    return {
      events: computedPart(events).map((event) =>
        event.type === "done" ? { ...event, result: null } : event,
      ),
      result: readdirSync(output)
        .filter((name) => name.endsWith(".safetensors"))
        .map((name) => bytes(join(output, name))),
      state: bytes(join(checkpoints.at(-1)?.folder as string, "training-state.safetensors")),
    };
  }

  test("starts at ln 2 and leaves a result that is finite", async () => {
    const ended: Ended = await cli(command("whole"));
    expect(ended.stderr).toContain("finished");
    expect(ended.code).toBe(0);
    const steps = metricsOf(`${family}-whole`);
    expect(steps).toHaveLength(12);
    expect(steps[0]?.loss).toBeCloseTo(Math.LN2, 3);
    const { result } = outcomeOf("whole") as { result: string[] };
    expect(result).toHaveLength(1);
  });

  test("killed at random moments and resumed computes, bit for bit, what the unbroken run did", async () => {
    const moments: string[] = [];
    for (let kill = 0; kill < 2; kill++) {
      const afterLines = 2 + Math.floor(Math.random() * 6);
      moments.push(`${afterLines} events`);
      await cli([...command("killed"), "--json"], { signal: { name: "SIGKILL", afterLines } });
    }
    expect((await cli(command("killed"))).code).toBe(0);
    expect(outcomeOf("killed"), `killed after ${moments.join(", ")}`).toEqual(outcomeOf("whole"));
  });
});
