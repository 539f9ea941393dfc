// What the loop itself decides.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readSafetensors } from "@spo/torch";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventsOfRun, makeTinyWorld, stepMetrics, type TinyWorld } from "../tiny-world.fixture.js";
import { startFrom } from "../training/start-from.js";
import { trainDpo } from "./train-dpo.js";
import { TrainDpoConfig } from "./train-dpo-config.js";

let folder: string;
let world: TinyWorld;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-dpo-loop-"));
  world = await makeTinyWorld(join(folder, "world"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let runs = 0;
async function train(settings: object) {
  const at = join(folder, `run-${runs++}`);
  const config = TrainDpoConfig.parse({
    ...{ model: world.model, pairs: [world.pairs], output: join(at, "model"), adapter: "lora", rank: 2 },
    ...{ steps: 3, batch: 5, microBatch: 5, warmup: 0, optimizer: { lr: 1e-2 }, beta: 100, ...settings },
  });
  const events = await eventsOfRun(at, "train dpo", config, trainDpo);
  const file = join(at, "model", "pytorch_lora_weights.safetensors");
  const weights = new Map([...readSafetensors(file)].map(([key, value]) => [key, value.toNumbers()]));
  const evals = events.flatMap((event) => (event.type === "eval" ? [event] : []));
  return { metrics: stepMetrics(events), weights, evals };
}

test("in parts an update has the loss and the gradient of the whole batch", async () => {
  const [parts, whole] = [await train({ microBatch: 2 }), await train({})];
  expect(whole.metrics[0]?.loss).toBeCloseTo(Math.LN2, 5);
  for (const [i, { loss, gradNorm, accuracy }] of parts.metrics.entries()) {
    expect(loss).toBeCloseTo(whole.metrics[i]?.loss as number, 3);
    expect((gradNorm as number) / (whole.metrics[i]?.gradNorm as number)).toBeCloseTo(1, 2);
    expect(accuracy).toBeCloseTo(whole.metrics[i]?.accuracy as number, 6);
  }
});

test("the rate rises from 0 over the warm-up's steps, so that the first update moves nothing, and then stays", async () => {
  const { metrics } = await train({ warmup: 2, steps: 4 });
  expect(metrics.map(({ lr }) => lr)).toEqual([0, 0.005, 0.01, 0.01]);
  const { weights: once } = await train({ warmup: 2, steps: 1 });
  for (const [name, values] of once)
    if (/lora_B|lora\.up/.test(name)) expect(values.every((x) => x === 0)).toBe(true);
});

test("each step learns from other pairs or other noise, by the seed", async () => {
  const still = { optimizer: { lr: 1e-12 }, objective: "sft", steps: 2 };
  const [one, again, other] = [await train(still), await train(still), await train({ ...still, seed: 1 })];
  const losses = ({ metrics }: typeof one): unknown[] => metrics.map(({ loss }) => loss);
  expect(losses(again)).toEqual(losses(one));
  const all = [...losses(one), ...losses(other)] as number[];
  for (const [i, a] of all.entries())
    for (const b of all.slice(i + 1)) expect(Math.abs(a - b)).toBeGreaterThan(1e-4);
});

test("prompts are left empty in training as the setting says", async () => {
  const still = { optimizer: { lr: 1e-12 }, objective: "sft", steps: 1 };
  const [kept, empty] = [
    await train({ ...still, emptyPrompts: 0 }),
    await train({ ...still, emptyPrompts: 1 }),
  ];
  const apart = Math.abs((kept.metrics[0]?.loss as number) - (empty.metrics[0]?.loss as number));
  expect(apart).toBeGreaterThan(1e-6);
});

test("held-out pairs are measured at the start, when due and at the end, with the same noise and their own prompts", async () => {
  const settings = { evalPairs: 3, evalEvery: 2, steps: 5 };
  const learning = await train(settings);
  expect(learning.evals.map(({ step }) => step)).toEqual([0, 2, 4, 5]);
  expect(learning.evals[0]?.metrics.loss).toBeCloseTo(Math.LN2, 5);
  expect(learning.evals.at(-1)?.metrics.loss).not.toBeCloseTo(Math.LN2, 3);
  const still = { ...settings, optimizer: { lr: 1e-12 }, objective: "sft", steps: 2 };
  const measured = async (more: object): Promise<unknown[]> =>
    (await train({ ...still, ...more })).evals.map(({ metrics }) => metrics.loss);
  const [first, second] = await measured({ emptyPrompts: 0 });
  expect(first).toBe(second);
  expect(await measured({ emptyPrompts: 1 })).toEqual([first, first]); // empty in training alone
  expect((await measured({ seed: 1 }))[0]).not.toBe(first); // the same pairs in the same order, with other noise
  expect((await measured({ evalPairs: 2 }))[0]).not.toBe(first);
  expect((await measured({ evalPairs: 4 }))[0]).toBe((await measured({ evalPairs: 99 }))[0]);
});

test("held-out prompts are sampled for the guard, which gives the best weights, and change nothing of what is learned", async () => {
  const small = join(folder, "small.mjs");
  writeFileSync(
    small,
    "export default { prepare: () => ({ score: ({ x0 }) => x0.square().mean([1, 2, 3]).mul(-1) }) };",
  );
  const more = { heldOut: world.prompts, samples: 2, sampleEvery: 1, sampleSteps: 2, guidanceScale: 1 };
  const guards = { heldOutScorers: [small], patience: 3 };
  const [plain, guarded] = [await train({ steps: 6 }), await train({ ...more, guards, steps: 6 })];
  const losses = ({ metrics }: typeof plain): unknown[] => metrics.map(({ loss }) => loss);
  expect(losses(guarded)).toEqual(losses(plain).slice(0, guarded.metrics.length));
  expect(guarded.evals.map(({ step }) => step)).toEqual([0, ...guarded.metrics.map((_, i) => i + 1)]);
  const accuracies = guarded.metrics.map(({ accuracy }) => accuracy);
  expect(guarded.evals.map(({ metrics }) => metrics.trainingAccuracy)).toEqual([0.5, ...accuracies]);
  expect(guarded.evals[0]?.metrics).toMatchObject({ heldOut: 0, "norm/t=1": 1, saturation: 1 });
  const refused = train({ guards: { ...guards, heldOutScorers: [] } });
  await expect(refused).rejects.toThrow("there are no held-out scorers");
});

test("a LoRA on the text encoder learns with the UNet's, from the base's prediction on, and stands in the same file", async () => {
  const [both, without] = [await train({ textEncoders: true }), await train({})];
  expect(both.metrics[0]?.loss).toBeCloseTo(Math.LN2, 5);
  expect(both.metrics[1]?.loss).not.toBe(without.metrics[1]?.loss);
  const up = [...both.weights].filter(([name]) => /^text_encoder\..*lora_linear_layer\.up/.test(name));
  expect(up).toHaveLength(4 * 2); // four maps in each of two layers
  for (const [name, values] of up) expect(Math.max(...values.map(Math.abs)), name).toBeGreaterThan(0);
  expect([...without.weights.keys()].some((name) => name.startsWith("text_encoder"))).toBe(false);
});

test("a new run begins with the weights of another's checkpoint, or of a LoRA's file at its strength", async () => {
  const measured = { evalPairs: 3, evalEvery: 2, steps: 2 };
  const first = join(folder, `run-${runs}`);
  const { evals } = await train(measured);
  const last = evals.at(-1)?.metrics.loss as number;
  expect(Math.abs(last - Math.LN2)).toBeGreaterThan(0.01);
  const begun = async (from: string, more: object = {}): Promise<number> =>
    (await train({ ...measured, steps: 1, from, ...more })).evals[0]?.metrics.loss as number;
  expect(await begun(`${first}@2`)).toBe(last);
  const lora = join(first, "model", "pytorch_lora_weights.safetensors");
  expect(await begun(lora)).toBeCloseTo(last, 2); // it is stored in half precision
  expect(await begun(join(first, "model"), { alpha: 4 })).toBeCloseTo(last, 2);

  const refusal = (code: string, message: RegExp) =>
    expect.objectContaining({ code, message: expect.stringMatching(message) });
  await expect(begun(first, { rank: 3 })).rejects.toEqual(
    refusal("CONFIG", /trained other weights .* differ/),
  );
  await expect(begun(lora, { rank: 3 })).rejects.toEqual(refusal("CONFIG", /of rank 2, .* of rank 3/));
  await expect(begun(lora, { adapter: "full" })).rejects.toEqual(refusal("CONFIG", /whole model learns/));
  const named = (from: string) => () => startFrom(from, { modules: {} });
  expect(named(first)).not.toThrow();
  expect(named(`${first}@7`)).toThrow(refusal("DATA", /no checkpoint of step 7/));
  expect(named(join(folder, "none"))).toThrow(refusal("DATA", /does not exist/));
  expect(named(world.pairs)).toThrow(refusal("DATA", /is no run with checkpoints/));
});
