// Trainings on another device than the CPU, as far as they can be driven without one: on `meta`, where tensors have shapes and no numbers,
// and where an operator that is given tensors of two devices throws.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  pretrainClip,
  pretrainJudge,
  pretrainLrm,
  pretrainTextToImage,
  pretrainVae,
} from "@spo/example-emoji";
import {
  PretrainClipConfig,
  PretrainJudgeConfig,
  PretrainLrmConfig,
  PretrainTextToImageConfig,
  PretrainVaeConfig,
} from "@spo/example-emoji/schemas";
import { Run } from "@spo/records";
import { full, onMeta, scope, Tensor, type TypedArray, tensor, zeros } from "@spo/torch";
import { type RecipeEvent, trainDpo, trainSpm, trainSpo } from "spo/recipes";
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

interface Numbers extends Disposable {
  /** How often numbers were read from the device: on a GPU each waits. */
  readonly reads: number;
}

/** What `meta` cannot tell: small numbers that differ, so that comparisons find pairs and no ratio is clipped. */
function withNumbers(): Numbers {
  let count = 0;
  let reads = 0;
  const { item, toTypedArray, to } = Tensor.prototype;
  const items = vi.spyOn(Tensor.prototype, "item").mockImplementation(function (this: Tensor) {
    if (this.device !== "meta") return item.call(this);
    reads++;
    return ARRAYS[this.dtype] ? 0 : 0.5; // a count, or a yes or no, is never a half
  });
  const arrays = vi.spyOn(Tensor.prototype, "toTypedArray").mockImplementation(function (this: Tensor) {
    if (this.device !== "meta") return toTypedArray.call(this);
    reads++;
    const array = new (ARRAYS[this.dtype] ?? Float32Array)(this.numel);
    return array instanceof Float32Array ? array.map(() => (count++ % 7) / 1000) : array;
  });
  const copies = vi.spyOn(Tensor.prototype, "to").mockImplementation(function (this: Tensor, where) {
    const leaves = this.device === "meta" && where.device === "cpu";
    if (leaves) reads++;
    return leaves ? zeros(this.shape, { dtype: where.dtype ?? this.dtype }) : to.call(this, where);
  });
  return {
    get reads() {
      return reads;
    },
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

describe("pretraining on another device", () => {
  const example = fileURLToPath(new URL("../examples/emoji", import.meta.url));
  const data = join(example, "data", "artwork.parquet");
  const tokenizer = join(example, "tokenizer");
  const context = (kind: string, config: object) => ({
    run: Run.open(join(folder, kind), { kind, config, engine: {} }),
    signal: new AbortController().signal,
  });
  const few = { data, output: join(folder, "never"), batch: 8, steps: 9, saveEvery: 99, device: "meta" };
  const step = { type: "step", step: 2 };

  test("of a VAE leaves no tensor on the CPU", async () => {
    const config = PretrainVaeConfig.parse({ ...few, channels: [8, 8], crop: 16 });
    using _ = onMeta();
    using __ = withNumbers();
    expect(await twoSteps(pretrainVae(config, context("vae", config)))).toContainEqual(
      expect.objectContaining(step),
    );
  });

  test("of a text-to-image model leaves no tensor on the CPU", async () => {
    const vae = join(example, "model", "vae");
    const config = PretrainTextToImageConfig.parse({ ...few, vae, tokenizer, channels: [16, 16, 16] });
    using _ = onMeta();
    using __ = withNumbers();
    expect(await twoSteps(pretrainTextToImage(config, context("text-to-image", config)))).toContainEqual(
      expect.objectContaining(step),
    );
  });

  test("of a CLIP leaves no tensor on the CPU", async () => {
    const vae = join(example, "model", "vae");
    const config = PretrainClipConfig.parse({ ...few, vae, tokenizer, width: 32, visionLayers: 1 });
    using _ = onMeta();
    using __ = withNumbers();
    expect(await twoSteps(pretrainClip(config, context("clip", config)))).toContainEqual(
      expect.objectContaining(step),
    );
  });

  test("of a latent reward model leaves no tensor on the CPU", async () => {
    const config = PretrainLrmConfig.parse({ ...few, model: join(example, "model"), views: 1, batch: 4 });
    using _ = onMeta();
    using __ = withNumbers();
    expect(await twoSteps(pretrainLrm(config, context("lrm", config)))).toContainEqual(
      expect.objectContaining(step),
    );
  });

  test("of a judge leaves no tensor on the CPU", async () => {
    const prompts = [join(example, "prompts", "train.txt")];
    const config = PretrainJudgeConfig.parse({
      ...{ ...few, half: 0, model: join(example, "model"), prompts, samplesPerPrompt: 1 },
      ...{ batch: 16, widths: [8, 8], patchWidths: [8] },
    });
    using _ = onMeta();
    using __ = withNumbers();
    expect(await twoSteps(pretrainJudge(config, context("judge", config)))).toContainEqual(
      expect.objectContaining(step),
    );
  });
});

test("float64 on the device, and tensors of two devices together, are what the tests above would fail by", () => {
  using _ = onMeta();
  scope(() => {
    const x = full([2], 1, { device: "meta" });
    expect(() => x.to({ dtype: "float64" })).toThrow("float64");
    expect(tensor([1, 0], { dtype: "bool", device: "meta" }).device).toBe("meta"); // by way of float64 on the CPU
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
      ["sample", "a red apple", "--model", model, "--output", out],
      ["eval", model, "--metrics", `spm:${spm}`, "--prompts", prompts, "--output", out],
      ["label", pairs, "--by", `spm:${spm}`, "--output", out],
      ["plan", "sample", "--model", model, "--measure"],
      ["quickstart", "--fast", "--output", out],
      ["pretrain", "vae", "--data", pairs, ...run],
      ["compare", "emoji", ...run],
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
