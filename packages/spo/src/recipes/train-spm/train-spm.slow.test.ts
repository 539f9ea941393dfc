// What the loop itself decides.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadTextToImage } from "@spo/diffusion";
import type { Pass } from "@spo/records";
import { Generator, noGrad, randn, readSafetensors, scope, type Tensor } from "@spo/torch";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LatentPreferenceModel } from "../../spm/latent-preference-model.js";
import { openPreferenceModel } from "../../spm/open-preference-model.js";
import type { PreferenceModel, Sight } from "../../spm/preference-model.js";
import { eventsOfRun, makeTinyWorld, PROMPTS, stepMetrics, type TinyWorld } from "../tiny-world.fixture.js";
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
    output: config.output,
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

test("a new run begins with the weights of another's checkpoint", async () => {
  const first = join(folder, `run-${runs}`);
  const { output } = await train({ cleanShare: 1, saveEvery: 1, optimizer: { lr: 1e-2 } });
  const weightsIn = (of: string) => readSafetensors(join(of, "model.safetensors"));
  const apart = (one: string, other: string): number => {
    const others = weightsIn(other);
    const far = [...weightsIn(one)].map(([name, x]) =>
      x
        .sub(others.get(name) as Tensor)
        .abs()
        .max()
        .item(),
    );
    return Math.max(...far);
  };
  const begun = async (from: string): Promise<string> =>
    (await train({ cleanShare: 1, from, steps: 1, optimizer: { lr: 1e-12 } })).output;
  expect(apart(await begun(first), output)).toBeLessThan(1e-6);
  expect(apart(await begun(`${first}@1`), output)).toBeGreaterThan(1e-3);
  // Of a LoRA it has no use.
  await expect(begun(join(world.model, "unet"))).rejects.toMatchObject({ code: "DATA" });
});

test("what is drawn for a pair depends on its position in the training, not in its batch", async () => {
  const { passes } = await train({ steps: 6, cleanShare: 0.5, optimizer: { lr: 1e-12 } });
  // How many of a step's pairs are clean, which no encoder sees, is drawn anew in each.
  const noised = passes.map((of) => of?.vaeEncode);
  expect(new Set(noised).size).toBeGreaterThan(1);
});

describe("a latent reward model", () => {
  const latent = {
    kind: "latent",
    init: null,
    evalPairs: 3,
    evalTimesteps: [1, 501],
    evalEvery: 10,
  } as const;
  const inputsOf = (): Sight => ({
    xt: randn([2, 4, 8, 8], { generator: new Generator(8) }),
    image: () => {
      throw new Error("a judge of latents sees no image");
    },
  });
  const scores = (model: PreferenceModel): number[] =>
    noGrad(() =>
      scope(() => model.score(model.look(inputsOf()), 501, model.encode(PROMPTS.slice(0, 2))).toNumbers()),
    );

  test("is trained from the base alone, which stays as it is, and learns pairs that it sees again without a prediction", async () => {
    const weights = (): Buffer =>
      readFileSync(join(world.model, "unet", "diffusion_pytorch_model.safetensors"));
    const before = weights();
    const settings = { ...latent, steps: 10, bank: 5, optimizer: { lr: 1e-3 } };
    const { metrics, passes, evals } = await train(settings);
    expect(metrics[0]?.loss).toBeGreaterThan(0.1);
    expect(metrics.at(-1)?.loss).toBeLessThan(0.02);
    const sum = (pass: Pass): number => passes.reduce((total, of) => total + (of?.[pass] ?? 0), 0);
    expect([sum("vaeEncode"), sum("judgeImage")]).toEqual([10, 100]);
    expect([sum("unetReference"), sum("vaeDecode")]).toEqual([0, 0]);
    expect(Object.keys(evals.at(-1)?.metrics ?? {})).toEqual(["accuracy/t=1", "accuracy/t=501"]);
    expect(weights().equals(before)).toBe(true);
  });

  test("goes on from its folder, which states its kind and its latent space", async () => {
    const first = await train({ ...latent, steps: 1 });
    const pipe = loadTextToImage(world.model);
    const opened = openPreferenceModel(first.output, pipe);
    expect(opened).toBeInstanceOf(LatentPreferenceModel);
    const still = await train({
      ...latent,
      kind: null,
      init: first.output,
      steps: 1,
      optimizer: { lr: 1e-12 },
    });
    const again = scores(openPreferenceModel(still.output, pipe));
    for (const [i, score] of scores(opened).entries()) expect(again[i]).toBeCloseTo(score, 4);
    await expect(train({ kind: "pixel", init: first.output })).rejects.toThrow(
      /holds a preference model of the kind latent, and kind is pixel/,
    );
  });

  test.each([
    [{ augmentation: {} }, /augmentation and pixelNoise change pixels/],
    [{ noiseLevels: 2, maxTimestep: 0 }, /sampling of 2 steps \(noiseLevels\) has no timestep up to 0/],
    [{ maxTimestep: 0 }, /sampling of 20 steps/],
    [{ relabel: {} }, /relabel\.by is missing/],
    // Before a model is loaded.
    [{ kind: null, model: "nowhere" }, /init is missing/],
    [{ pairs: [], model: "nowhere" }, /pairs is missing/],
  ])("is refused with settings %j that it has no use for", async (settings, message) => {
    await expect(train({ ...latent, ...settings })).rejects.toThrow(message);
  });
});

test.each(["pixel", "latent"])(
  "with bfloat16 weights and 8-bit moments a model of the kind %s learns nearly the same; plain AdamW would lose it",
  async (kind) => {
    const settings = { kind, init: kind === "pixel" ? world.spm : world.lrm, cleanShare: 1, steps: 4 };
    const half = { dtype: "bfloat16", baseDtype: "bfloat16", microBatch: 2 };
    const optimizer = { lr: 1e-3, kind: "adamw8bit" };
    const [exact, found] = [
      await train({ ...settings, optimizer: { lr: 1e-3 } }),
      await train({ ...settings, ...half, optimizer }),
    ];
    const losses = ({ metrics }: typeof exact) => metrics.map(({ loss }) => loss as number);
    for (const [i, loss] of losses(found).entries())
      expect(Math.abs(loss / (losses(exact)[i] as number) - 1)).toBeLessThan(0.1);
    expect(losses(found)).not.toEqual(losses(exact));
    await expect(train({ ...settings, ...half })).rejects.toMatchObject({ code: "CONFIG" });
  },
);
