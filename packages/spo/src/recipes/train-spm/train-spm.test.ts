// What the loop itself decides.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventsOfRun, makeTinyWorld, stepMetrics, type TinyWorld } from "../tiny-world.fixture.js";
import { trainSpm } from "./train-spm.js";
import { TrainSpmConfig } from "./train-spm-config.js";

let folder: string;
let world: TinyWorld;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-spm-loop-"));
  world = await makeTinyWorld(join(folder, "world"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let runs = 0;
async function train(settings: object) {
  const at = join(folder, `run-${runs++}`);
  const config = TrainSpmConfig.parse({
    ...{ model: world.model, init: world.spm, pairs: [world.pairs], output: join(at, "model") },
    ...{ steps: 2, batch: 5, warmup: 0, optimizer: { lr: 1e-3 }, evalPairs: 0, ...settings },
  });
  const events = await eventsOfRun(at, "train spm", config, trainSpm);
  return {
    metrics: stepMetrics(events),
    passes: events.flatMap((event) => (event.type === "step" ? [event.passes] : [])),
    evals: events.flatMap((event) => (event.type === "eval" ? [event] : [])),
  };
}

test("in parts an update has the loss and the gradient of the whole batch, with prompts weighed over all of it", async () => {
  // Clean pairs alone: a noised one's last bits depend on how many are computed together.
  const settings = { cleanShare: 1 };
  const [parts, whole] = [await train({ ...settings, microBatch: 2 }), await train(settings)];
  for (const [i, { loss, gradNorm, accuracy }] of parts.metrics.entries()) {
    expect(loss).toBeCloseTo(whole.metrics[i]?.loss as number, 4);
    expect((gradNorm as number) / (whole.metrics[i]?.gradNorm as number)).toBeCloseTo(1, 3);
    expect(accuracy).toBeCloseTo(whole.metrics[i]?.accuracy as number, 6);
  }
});

test("the rate rises over the warm-up, has its value where it ends, and falls to 0 at the last step's end", async () => {
  const { metrics } = await train({ warmup: 2, steps: 6, optimizer: { lr: 8e-4 }, cleanShare: 1 });
  for (const [i, rate] of [0, 4e-4, 8e-4, 6e-4, 4e-4, 2e-4].entries())
    expect(metrics[i]?.lr).toBeCloseTo(rate, 12);
});

test("each step has other pairs or other noise, by the seed", async () => {
  const still = { optimizer: { lr: 1e-12 }, steps: 2 };
  const [one, again, other] = [await train(still), await train(still), await train({ ...still, seed: 1 })];
  const losses = ({ metrics }: typeof one): unknown[] => metrics.map(({ loss }) => loss);
  expect(losses(again)).toEqual(losses(one));
  const all = [...losses(one), ...losses(other)] as number[];
  for (const [i, a] of all.entries())
    for (const b of all.slice(i + 1)) expect(Math.abs(a - b)).toBeGreaterThan(1e-4);
});

test("the accuracy is measured at the start, when due and at the end, on so many held-out pairs", async () => {
  const { evals } = await train({ evalPairs: 3, evalEvery: 2, steps: 3, evalTimesteps: [0, 501] });
  expect(evals.map(({ step }) => step)).toEqual([0, 2, 3]);
  for (const { metrics } of evals)
    for (const share of Object.values(metrics))
      expect([0, 1, 2, 3]).toContain(Math.round(3 * (share ?? -1) * 1e6) / 1e6);
});

test("what is drawn for a pair depends on its position in the training, not in its batch", async () => {
  const { passes } = await train({ steps: 6, cleanShare: 0.5, optimizer: { lr: 1e-12 } });
  // How many of a step's pairs are clean, which no encoder sees, is drawn anew in each.
  const noised = passes.map((of) => of?.vaeEncode);
  expect(new Set(noised).size).toBeGreaterThan(1);
});
