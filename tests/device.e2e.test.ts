// Trainings on another device than the CPU, as far as they can be driven without one: on `meta`, where tensors have shapes and no numbers,
// and where an operator that is given tensors of two devices throws.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onMeta, Tensor, type TypedArray, zeros } from "@spo/torch";
import { type RecipeEvent, trainDpo, trainSpm, trainSpo } from "spo/recipes";
import { Run } from "spo/records";
import { TrainDpoConfig, TrainSpmConfig, TrainSpoConfig } from "spo/schemas";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { cli } from "./cli.js";
import { makeTinyWorld, SIDE, type TinyWorld } from "./tiny-models.js";

const folder = mkdtempSync(join(tmpdir(), "spo-device-"));
const worlds = new Map<string, TinyWorld>();
beforeAll(async () => {
  for (const family of ["sd15", "sdxl"] as const)
    worlds.set(family, await makeTinyWorld(join(folder, family), family));
});
afterAll(() => rmSync(folder, { recursive: true }));

const ARRAYS: Record<string, new (length: number) => TypedArray> = {
  uint8: Uint8Array,
  int64: BigInt64Array,
  bool: Uint8Array,
};

/** What `meta` cannot tell: small numbers that differ, so that comparisons find pairs and no ratio is clipped. */
function withNumbers(): Disposable {
  let count = 0;
  const { item, toTypedArray, to } = Tensor.prototype;
  const items = vi.spyOn(Tensor.prototype, "item").mockImplementation(function (this: Tensor) {
    return this.device === "meta" ? 0.5 : item.call(this);
  });
  const arrays = vi.spyOn(Tensor.prototype, "toTypedArray").mockImplementation(function (this: Tensor) {
    if (this.device !== "meta") return toTypedArray.call(this);
    const array = new (ARRAYS[this.dtype] ?? Float32Array)(this.numel);
    return array instanceof Float32Array ? array.map(() => (count++ % 7) / 1000) : array;
  });
  const copies = vi.spyOn(Tensor.prototype, "to").mockImplementation(function (this: Tensor, where) {
    const leaves = this.device === "meta" && where.device === "cpu";
    return leaves ? zeros(this.shape, { dtype: where.dtype ?? this.dtype }) : to.call(this, where);
  });
  return {
    [Symbol.dispose]: () => {
      copies.mockRestore();
      items.mockRestore();
      arrays.mockRestore();
    },
  };
}

/** Runs a recipe until its second step has begun, which is before anything of it is saved. */
async function twoSteps(events: AsyncIterable<RecipeEvent>): Promise<RecipeEvent[]> {
  const seen: RecipeEvent[] = [];
  for await (const event of events) {
    seen.push(event);
    if (event.type === "step" && event.step === 2) break;
  }
  return seen;
}

const names = (events: readonly RecipeEvent[]): string[] => events.map(({ type }) => type);

describe.each(["sd15", "sdxl"])("on another device, of %s,", (family) => {
  const context = (kind: string, config: object) => ({
    run: Run.open(join(folder, `${family}-${kind}`), { kind, config, engine: {} }),
    signal: new AbortController().signal,
  });
  const later = { steps: 9, saveEvery: 99, device: "meta" };

  test.each(["lora", "full"])("train dpo with adapter %s leaves no tensor on the CPU", async (adapter) => {
    const { model, pairs } = worlds.get(family) as TinyWorld;
    const config = TrainDpoConfig.parse({
      ...{ model, pairs: [pairs], output: join(folder, "dpo"), batch: 4, microBatch: 2, adapter },
      ...{ resolution: SIDE, evalPairs: 2, evalSplit: "train", ...later },
      optimizer: { kind: adapter === "lora" ? "adamw" : "adafactor" },
    });
    using _ = onMeta();
    using __ = withNumbers();
    const events = await twoSteps(trainDpo(config, context(`dpo-${adapter}`, config)));
    expect(names(events)).toEqual(expect.arrayContaining(["eval", "step"]));
  });

  test.each([0, 8])("train spm with a bank of %d leaves no tensor on the CPU", async (bank) => {
    const { model, spm, pairs } = worlds.get(family) as TinyWorld;
    const config = TrainSpmConfig.parse({
      ...{ model, init: spm, pairs: [pairs], output: join(folder, "spm"), batch: 4, microBatch: 2, bank },
      ...{ resolution: SIDE, evalPairs: 2, evalSplit: "train", relabel: { by: `spm:${spm}` }, ...later },
      ...{ pixelNoise: 0.1, augmentation: { colour: 0.1, scale: 0.1, shift: 0.1 } },
    });
    using _ = onMeta();
    using __ = withNumbers();
    const events = await twoSteps(trainSpm(config, context(`spm-${bank}`, config)));
    expect(names(events)).toEqual(expect.arrayContaining(["eval", "step"]));
  });

  test.each(["lora", "full"])("train spo with adapter %s leaves no tensor on the CPU", async (adapter) => {
    const { model, spm, prompts } = worlds.get(family) as TinyWorld;
    const config = TrainSpoConfig.parse({
      ...{ model, spm, prompts, output: join(folder, "spo"), adapter, rounds: 9, promptsPerRound: 2 },
      ...{ ...later, steps: 4, firstBranch: 1, innerSteps: family === "sdxl" ? 1 : 0, threshold: 0 },
      ...{ batch: 4, microBatch: 2, samples: 1 },
    });
    using _ = onMeta();
    using __ = withNumbers();
    const events = await twoSteps(trainSpo(config, context(`spo-${adapter}`, config)));
    expect(names(events)).toEqual(expect.arrayContaining(["sample", "comparisons", "step"]));
    const updates = events.filter((event) => event.type === "step" && (event.metrics.pairs as number) > 0);
    expect(updates.length).toBeGreaterThan(0);
  });
});

describe("a device that is not there", () => {
  const absent = ["--device", "cuda:4095"];

  test("ends every command that computes with exit code 7, before anything is written", async () => {
    const { model, spm, pairs, prompts } = worlds.get("sd15") as TinyWorld;
    const out = join(folder, "never");
    const run = ["--run", join(folder, "never-run")];
    const commands = [
      ["train", "dpo", "--model", model, "--pairs", pairs, "--output", out, ...run],
      ["train", "spm", "--model", model, "--init", spm, "--pairs", pairs, "--output", out, ...run],
      ["train", "spo", "--model", model, "--spm", spm, "--prompts", prompts, "--output", out, ...run],
      ["sample", "a red apple", "--model", model, "--out", out],
      ["eval", model, "--metrics", `spm:${spm}`, "--prompts", prompts, "--out", out],
    ];
    for (const command of commands) {
      const { code, stderr } = await cli([...command, ...absent], { cwd: folder });
      expect([command.slice(0, 2), code, stderr]).toEqual([
        command.slice(0, 2),
        7,
        expect.stringContaining("cuda:4095"),
      ]);
      expect([existsSync(out), existsSync(run[1] as string)]).toEqual([false, false]);
    }
  });

  test("is told from a name that is none, which is a fault of the config", async () => {
    const { code, stderr } = await cli(["sample", "x", "--model", "m", "--device", "gpu"], { cwd: folder });
    expect([code, stderr]).toEqual([3, expect.stringContaining("cuda:N")]);
  });
});

test("a run goes on with another device named, since its state is the same on each", () => {
  const path = join(folder, "moved");
  const config = { seed: 1, device: "cpu" };
  Run.open(path, { kind: "train dpo", config, engine: {} }).close();
  const moved = { ...config, device: "cuda:0" };
  Run.open(path, { kind: "train dpo", config: moved, engine: {} }).close();
  expect(() => Run.open(path, { kind: "train dpo", config: { ...moved, seed: 2 }, engine: {} })).toThrow(
    "other settings",
  );
});
