// Trainings of a flow model: the recipes are those of diffusion, and ask its process for everything.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FlowSchedule } from "@spo/diffusion";
import { readRun } from "@spo/records";
import { readSafetensors } from "@spo/torch";
import { afterAll, beforeAll, expect, test } from "vitest";
import { saveTinyDina, saveTinySd3 } from "../tiny-sd3.fixture.js";
import { eventsOfRun, makeTinyWorld, stepMetrics, type TinyWorld } from "./tiny-world.fixture.js";
import { trainDpo } from "./train-dpo/train-dpo.js";
import { TrainDpoConfig } from "./train-dpo/train-dpo-config.js";
import { trainSpm } from "./train-spm/train-spm.js";
import { TrainSpmConfig } from "./train-spm/train-spm-config.js";
import { trainSpo } from "./train-spo/train-spo.js";
import { TrainSpoConfig } from "./train-spo/train-spo-config.js";

let folder: string;
let world: TinyWorld;
let model: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-flow-"));
  world = await makeTinyWorld(join(folder, "world"));
  model = join(folder, "sd3");
  saveTinySd3(model);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const GRID = { spacing: "training", patch: 2, latentSize: [8, 8] } as const;

const weightsOf = (output: string): [string, number[]][] =>
  [...readSafetensors(join(output, "pytorch_lora_weights.safetensors"))].map(([name, value]) => [
    name,
    value.toNumbers(),
  ]);

async function spo(name: string, settings: object = {}) {
  const output = join(folder, name, "model");
  const config = TrainSpoConfig.parse({
    ...{ model, spm: world.spm, prompts: world.prompts, output, samples: 1, rounds: 2, promptsPerRound: 2 },
    ...{
      steps: 5,
      firstBranch: 1,
      lastBranch: 2,
      eta: 0.7,
      etaBefore: 0,
      ratio: "normalised",
      candidates: 2,
    },
    ...{ guidanceScale: 4.5, threshold: 0, batch: 4, microBatch: 4, optimizer: { lr: 1e-2 }, rank: 2 },
    ...{ stripEvery: 100, ...settings },
  });
  const events = await eventsOfRun(join(folder, name), "train spo", config, trainSpo);
  return { events, metrics: stepMetrics(events), weights: weightsOf(output) };
}

test("SPO compares the steps of its window, starts at ln 2, and moves its LoRA by the seed alone", async () => {
  const { events, metrics, weights } = await spo("spo");
  expect(metrics[0]?.loss).toBeCloseTo(Math.LN2, 5);
  const judged = events.find(({ type }) => type === "comparisons");
  const grid = new FlowSchedule({ shift: 3 }, GRID).timesteps(5);
  expect(judged).toMatchObject({ timesteps: [{ timestep: grid[2] }, { timestep: grid[3] }] });
  const up = weights.filter(([name]) => /lora_up|lora_B/.test(name));
  expect(up.length).toBeGreaterThan(8);
  for (const [name, values] of up)
    expect(
      values.some((value) => value !== 0),
      name,
    ).toBe(true);
  expect((await spo("again")).weights).toEqual(weights);
  expect((await spo("cps", { stepNoise: "cps" })).weights).not.toEqual(weights);
});

test("a judge of a flow's latents scores them as they are drawn, and reads prompts as they were cached", async () => {
  const dina = join(folder, "dina-lrm");
  saveTinyDina(dina);
  const { events, metrics, weights } = await spo("dina", { spm: dina, stripEvery: null });
  expect(metrics[0]?.loss).toBeCloseTo(Math.LN2, 5);
  const judged = events.find(({ type }) => type === "comparisons");
  const grid = new FlowSchedule({ shift: 3 }, GRID).timesteps(5);
  expect(judged).toMatchObject({ timesteps: [{ timestep: grid[2] }, { timestep: grid[3] }] });
  // Nothing is predicted of the candidates that do not go on, and nothing decoded.
  const passes = events.flatMap((event) => (event.type === "step" ? [event.passes] : []))[0];
  expect(passes).toMatchObject({ unetSampling: 2 * 2 * 3, vaeDecode: 0, judgeImage: 2 * 2 * 2 });
  const cached = await spo("cached", { spm: dina, stripEvery: null, promptCache: join(folder, "prompts") });
  expect(cached.weights).toEqual(weights);
});

test("a last step without spread is refused by the setting that leaves it out", async () => {
  await expect(spo("still", { stepNoise: "cps", lastBranch: null })).rejects.toMatchObject({
    code: "CONFIG",
    hint: expect.stringContaining("lastBranch"),
  });
  await expect(spo("wrong", { stepNoise: "ddim" })).rejects.toMatchObject({ code: "CONFIG" });
});

test("Diffusion-DPO learns from errors of the velocity", async () => {
  const output = join(folder, "dpo", "model");
  const config = TrainDpoConfig.parse({
    ...{ model, pairs: [world.pairs], output, adapter: "lora", rank: 2, steps: 2, batch: 4, microBatch: 4 },
    ...{ warmup: 0, beta: 100, optimizer: { lr: 1e-2 } },
  });
  const events = await eventsOfRun(join(folder, "dpo"), "train dpo", config, trainDpo);
  const [first, second] = stepMetrics(events);
  expect(first?.loss).toBeCloseTo(Math.LN2, 5);
  expect(second?.loss).not.toBeCloseTo(Math.LN2, 5);
});

test.each([
  ["spo", null],
  ["dpo", "int8"],
  ["spo", "int8"],
] as const)(
  "a training by %s (baseDtype %s) that is stopped after each step and gone on with ends with the unbroken one's bits",
  async (method, baseDtype) => {
    const shared = {
      baseDtype,
      model,
      rank: 2,
      batch: 4,
      microBatch: 4,
      saveEvery: 1,
      optimizer: { lr: 1e-2 },
    };
    const run = async (name: string, isStopping: boolean): Promise<[string, number[]][]> => {
      const output = join(folder, name, "model");
      const start = (signal: AbortSignal) => {
        const options = { run: join(folder, name), signal };
        if (method === "dpo") {
          const own = { pairs: [world.pairs], adapter: "lora", steps: 3, warmup: 0 };
          return trainDpo(TrainDpoConfig.parse({ ...shared, ...own, output }), options);
        }
        const own = { spm: world.spm, prompts: world.prompts, samples: 0, rounds: 3, promptsPerRound: 2 };
        const rollout = { steps: 4, firstBranch: 1, lastBranch: 2, eta: 0.7, etaBefore: 0, candidates: 2 };
        const loss = { ratio: "normalised", threshold: 0, stripEvery: 100 };
        return trainSpo(TrainSpoConfig.parse({ ...shared, ...own, ...rollout, ...loss, output }), options);
      };
      for (;;) {
        const stopping = new AbortController();
        try {
          for await (const { type } of start(stopping.signal))
            if (isStopping && type === "step") stopping.abort();
          return weightsOf(output);
        } catch (error) {
          if (error !== stopping.signal.reason) throw error;
        }
      }
    };
    const name = `${method}-${baseDtype}`;
    expect(await run(`${name}-stopped`, true)).toEqual(await run(`${name}-unbroken`, false));
    const { events } = readRun(join(folder, `${name}-stopped`));
    expect(events.flatMap((event) => (event.type === "resume" ? [event.step] : []))).toEqual([1, 2, 3]);
  },
);

test("a preference model learns from what a flow model predicts of noised pairs", async () => {
  const config = TrainSpmConfig.parse({
    ...{ model, init: world.spm, pairs: [world.pairs], output: join(folder, "spm", "model") },
    ...{ steps: 1, batch: 4, microBatch: 4, resolution: 16, guidanceScale: 4.5, warmup: 0 },
  });
  const events = await eventsOfRun(join(folder, "spm"), "train spm", config, trainSpm);
  const [first] = stepMetrics(events);
  expect(first?.loss).toBeGreaterThan(0);
  expect(first?.gradNorm).toBeGreaterThan(0);
});
