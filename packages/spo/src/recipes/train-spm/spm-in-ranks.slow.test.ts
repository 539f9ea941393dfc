// What a preference model's training by several processes learns is what one learns.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { computedPart, readRun } from "@spo/records";
import { afterAll, beforeAll, expect, test } from "vitest";
import { inRanks } from "../local-worlds.fixture.js";
import { makeTinyWorld, type TinyWorld } from "../tiny-world.fixture.js";
import { trainSpm } from "./train-spm.js";
import { TrainSpmConfig } from "./train-spm-config.js";

let folder: string;
let world: TinyWorld;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-spm-ranks-"));
  world = await makeTinyWorld(join(folder, "world"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Trains by several ranks, from the run's last checkpoint if it has one. */
async function train(size: number, name: string, settings: object) {
  const at = join(folder, name);
  const config = TrainSpmConfig.parse({
    ...{ model: world.model, output: join(at, "model"), steps: 2, batch: 6, microBatch: 2, warmup: 0 },
    ...{ optimizer: { lr: 1e-3 }, evalPairs: 0, saveEvery: 1, ...settings },
  });
  await inRanks(size, async (ranks) => {
    for await (const _ of trainSpm(config, { world: ranks, run: join(at, "run") }));
  });
  const events = computedPart(readRun(join(at, "run")).events).filter(({ type }) => type !== "done");
  const files = readdirSync(join(at, "model"), { recursive: true, encoding: "utf8" }).sort();
  const weights = files.flatMap((file) =>
    file.endsWith(".safetensors") ? [readFileSync(join(at, "model", file)).toString("base64")] : [],
  );
  expect(weights.length).toBeGreaterThan(0);
  return {
    weights,
    metrics: events.flatMap((event) =>
      event.type === "step" || event.type === "eval" ? [event.metrics] : [],
    ),
  };
}

const pixel = () => ({ init: world.spm, pairs: [world.pairs] });
const latent = () => ({ init: world.lrm, pairs: [world.pairs] });
const taught = () => ({
  ...{ kind: "latent", init: world.lrm, teacher: world.spm, prompts: world.prompts },
  ...{ noiseLevels: 3, maxTimestep: 999, candidates: 2 },
});

test.each([
  ["pixels", () => ({ ...pixel(), pixelNoise: 0.1, evalPairs: 2, evalEvery: 2, evalTimesteps: [0] })],
  ["latents", latent],
  ["latents by a teacher", taught],
  [
    "latents by a teacher, with images",
    () => ({ ...taught(), pairs: [world.pairs], imageShare: 0.5, bank: 0 }),
  ],
])("added up exactly, ranks that learn of %s have the bits of one", async (name, settings) => {
  const exact = { ...settings(), reduce: "exact" };
  const one = await train(1, `${name}-1`, exact);
  for (const size of [2, 3]) expect(await train(size, `${name}-${size}`, exact)).toEqual(one);
});

test("added up at once, two and four ranks learn what one does but for rounding, whatever is drawn for a batch", async () => {
  // Clean pairs alone: a noised one's last bits depend on how many are computed together.
  const settings = {
    ...pixel(),
    pixelNoise: 0.1,
    cleanShare: 1,
    microBatch: 5,
    augmentation: { shift: 0.1 },
  };
  const one = await train(1, "sum-1", settings);
  for (const size of [2, 4]) {
    const { metrics } = await train(size, `sum-${size}`, settings);
    for (const [i, { loss }] of metrics.entries())
      expect((loss as number) / (one.metrics[i]?.loss as number)).toBeCloseTo(1, 5);
  }
});
