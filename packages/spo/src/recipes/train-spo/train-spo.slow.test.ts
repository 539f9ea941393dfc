// What the loop itself decides, seen by a judge of the test's own.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Pass } from "@spo/records";
import { Module, readSafetensors, scope, type Tensor } from "@spo/torch";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { StepAwareJudge } from "../../judges/judge.js";
import { spoPresets } from "../../presets/index.js";
import { eventsOfRun, makeTinyWorld, PROMPTS, stepMetrics, type TinyWorld } from "../tiny-world.fixture.js";
import { trainSpo } from "./train-spo.js";
import { TrainSpoConfig } from "./train-spo-config.js";

let folder: string;
let world: TinyWorld;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-loop-"));
  world = await makeTinyWorld(join(folder, "world"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What the judge was shown at one timestep of one round. */
interface Shown {
  round: number;
  timestep: number;
  /** Of all candidates, row by row. */
  xt: number[];
  prompts: string[];
}

let runs = 0;
/** A training by a judge that likes large values, and what that judge saw. */
async function train(settings: object, modules: readonly Module[] = []) {
  const shown: Shown[] = [];
  let round = -1;
  const judge: StepAwareJudge = {
    modules,
    beginRound: (begun) => {
      round = begun;
    },
    prepare: (prompts) => ({
      score: ({ xt, x0, timestep }, rows) => {
        const ofRows = rows.map((row) => prompts[row] as string);
        shown.push({ round, timestep, xt: xt.toNumbers(), prompts: ofRows });
        return scope(() => x0.mean([1, 2, 3]).mul(30));
      },
    }),
  };
  const at = join(folder, `run-${runs++}`);
  const config = TrainSpoConfig.parse({
    ...{ model: world.model, prompts: world.prompts, output: join(at, "model"), samples: 0 },
    ...{
      rounds: 3,
      promptsPerRound: 2,
      steps: 3,
      firstBranch: 0,
      candidates: 2,
      threshold: 0,
      batch: 4,
      microBatch: 2,
    },
    ...{ optimizer: { lr: 1e-2 }, guidanceScale: 2, stripEvery: 100, ...settings },
  });
  const phases: string[] = [];
  const events = await eventsOfRun(
    at,
    "train spo",
    config,
    (of, context) => trainSpo(of, { ...context, judge }),
    (event) => {
      if (event.type === "phase")
        phases.push([event.name, event.done, event.total, event.left].join(" ").trim());
    },
  );
  const weights: Map<string, Tensor> = readSafetensors(join(at, "model", "pytorch_lora_weights.safetensors"));
  return { events, phases, metrics: stepMetrics(events), shown, weights };
}

test("rounds draw other noise, by the seed and their number; what was learned is what the next round samples with", async () => {
  const [learning, still, other] = [
    await train({}),
    await train({ optimizer: { lr: 1e-12 } }),
    await train({ seed: 1, rounds: 1 }),
  ];
  const first = ({ shown }: typeof learning, round: number): number[] =>
    shown.find((seen) => seen.round === round)?.xt as number[];
  // The first round has learned nothing yet; the later ones sample with the LoRA.
  expect(first(learning, 0)).toEqual(first(still, 0));
  expect(first(learning, 1)).not.toEqual(first(still, 1));
  // Without learning, too, no round repeats another's noise.
  const apart = (a: number[], b: number[]): number =>
    Math.max(...a.map((x, i) => Math.abs(x - (b[i] as number))));
  expect(apart(first(still, 0), first(still, 1))).toBeGreaterThan(1);
  expect(apart(first(still, 1), first(still, 2))).toBeGreaterThan(1);
  expect(apart(first(still, 0), first(other, 0))).toBeGreaterThan(1);
});

test("with offload the judge's networks are away in updates alone, and the result is the same", async () => {
  const moves: string[] = [];
  class Moved extends Module {
    override to({ device }: { device?: string }): this {
      moves.push(`to ${device}`);
      return this;
    }
    override arrange_(format: string): this {
      moves.push(format);
      return this;
    }
  }
  const settings = { rounds: 2, memoryFormat: "contiguous" };
  const stayed = await train(settings, [new Moved()]);
  expect(moves).toEqual([]);
  const moved = await train({ ...settings, offload: true }, [new Moved()]);
  const round = ["to cpu", "to cpu", "contiguous"];
  expect(moves).toEqual([...round, ...round]);
  expect(moved.metrics).toEqual(stayed.metrics);
  expect(moved.shown).toEqual(stayed.shown);
});

test("the judge is asked of the prompts that the round samples, each in turn, and told the timestep it has come to", async () => {
  const { shown } = await train({ rounds: 5, steps: 2, optimizer: { lr: 1e-12 } });
  const byRound = [0, 1, 2, 3, 4].map((round) => shown.filter((seen) => seen.round === round));
  const epochs = byRound.flatMap(([seen]) => (seen as Shown).prompts.slice(0, 2));
  for (const epoch of [epochs.slice(0, 5), epochs.slice(5)])
    expect([...epoch].sort()).toEqual([...PROMPTS].sort());
  // Two steps, t = 501 and 1, are two comparisons: at the second step, and of the finished candidates.
  for (const seen of byRound) expect(seen.map(({ timestep }) => timestep)).toEqual([1, 0]);
});

test("the learning rate rises update by update over the warm-up's rounds, and then stays", async () => {
  const { metrics } = await train({ warmupRounds: 2, batch: 3, optimizer: { lr: 0.01 } });
  // Three comparisons of two prompts: six pairs a round, two updates.
  expect(metrics.map(({ pairs }) => pairs)).toEqual([3, 3, 3, 3, 3, 3]);
  for (const [i, rate] of [0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01].entries())
    expect(metrics[i]?.lr).toBeCloseTo(rate, 12);
});

test("in parts an update has the loss and the gradient of the whole batch", async () => {
  const settings = { rounds: 2, batch: 5, steps: 4 };
  const [parts, whole] = [
    await train({ ...settings, microBatch: 2 }),
    await train({ ...settings, microBatch: 5 }),
  ];
  expect(whole.metrics.map(({ pairs }) => pairs)).toEqual([5, 3, 5, 3]);
  for (const [i, { loss, gradNorm, accuracy }] of parts.metrics.entries()) {
    expect(loss).toBeCloseTo(whole.metrics[i]?.loss as number, 4);
    expect((gradNorm as number) / (whole.metrics[i]?.gradNorm as number)).toBeCloseTo(1, 2);
    expect(accuracy).toBeCloseTo(whole.metrics[i]?.accuracy as number, 6);
  }
});

test("training makes winners likelier against the base, and the saved LoRA is what was trained", async () => {
  const { metrics, weights } = await train({ rounds: 6, optimizer: { lr: 3e-3 } });
  expect(metrics[0]?.loss).toBeCloseTo(Math.LN2, 4);
  const late = metrics.slice(2).map(({ loss }) => loss as number);
  expect(late.reduce((sum, loss) => sum + loss, 0) / late.length).toBeLessThan(Math.LN2);
  const up = [...weights].filter(([name]) => name.endsWith("lora_up.weight"));
  expect(up.length).toBeGreaterThan(4);
  for (const [name, value] of up) expect(value.abs().max().item(), name).toBeGreaterThan(0);
});

test("with an average the held-out samples and the saved LoRA are the average's, which the first round is alone", async () => {
  const settings = { samples: 2, sampleEvery: 2 };
  const [averaged, last, one, oneLast] = [
    await train({ ...settings, ema: 0.2 }),
    await train(settings),
    await train({ ...settings, ema: 0.2, rounds: 1 }),
    await train({ ...settings, rounds: 1 }),
  ];
  const valuesOf = ({ weights }: typeof one): number[][] =>
    [...weights.values()].map((value) => value.toNumbers());
  const distances = ({ events }: typeof one): unknown[] =>
    events.flatMap((event) => (event.type === "eval" ? [event.metrics.distance] : []));
  // The same training: what is averaged does not change what is learned.
  expect(averaged.metrics.map(({ loss }) => loss)).toEqual(last.metrics.map(({ loss }) => loss));
  expect(valuesOf(one)).toEqual(valuesOf(oneLast));
  expect(valuesOf(averaged)).not.toEqual(valuesOf(last));
  expect(distances(last)).toHaveLength(3); // before, after round 2, at the end
  expect(distances(averaged)[0]).toBe(0);
  expect(distances(averaged)[2]).not.toBe(distances(last)[2]);
  expect(distances(one)[1]).toBe(distances(oneLast)[1]);
  const images = last.events.flatMap((event) => (event.type === "sample" ? [event.images] : []));
  expect(images.map((of) => of.map(({ prompt }) => prompt))).toEqual(Array(3).fill(PROMPTS.slice(0, 2)));
});

test("every phase is named as it begins, each sampling step counts, and none of it stands in the log", async () => {
  const { phases, events } = await train({ rounds: 2, steps: 2, samples: 1, sampleEvery: 1, batch: 100 });
  const drawing = (left: number): string[] =>
    [0, 1, 2].map((done) => `drawing held-out samples ${done} 2 ${left}`);
  const round = (left: number): string[] => [
    ...[0, 1, 2].map((done) => `sampling ${done} 2 ${left}`),
    "updating 0 1",
    ...drawing(left),
  ];
  expect(phases).toEqual([
    ...["loading the model 0 0", "loading the judge 0 0", "encoding the prompts 0 0"],
    ...[...drawing(2), ...round(1), ...round(0)],
    ...["saving 0 1 1", "saving 1 1 1", "saving 0 1 0", "saving 1 1 0"], // the checkpoint and the result
  ]);
  expect(events.filter(({ type }) => type === "phase")).toEqual([]);
});

test("by a latent reward model a round takes one pass a prompt, step and side, no decode, and a threshold that grows with the noise", async () => {
  const at = join(folder, "lpo");
  const config = TrainSpoConfig.parse({
    ...(spoPresets["lpo-sd15"] as object),
    ...{ model: world.model, prompts: world.prompts, spm: world.lrm, output: join(at, "model") },
    ...{
      rounds: 3,
      promptsPerRound: 2,
      steps: 3,
      candidates: 4,
      threshold: 0,
      thresholdMax: 0.999,
    },
    ...{ batch: 4, microBatch: 4, samples: 0 },
  });
  const events = await eventsOfRun(at, "train spo", config, trainSpo);
  const updates = events.flatMap((event) => (event.type === "step" ? [event] : []));
  for (const round of [1, 2, 3]) {
    const of = updates.filter(({ step }) => step === round);
    const sum = (pass: Pass): number => of.reduce((total, { passes }) => total + (passes?.[pass] ?? 0), 0);
    expect(sum("unetSampling")).toBe(2 * 3 * 2); // prompts × steps × sides of guidance
    expect(sum("vaeDecode")).toBe(0);
    expect(sum("judgeImage")).toBe(2 * 3 * 4);
  }
  expect(existsSync(join(at, "strips"))).toBe(false); // pictures would take both
  const yields = events.flatMap((event) => (event.type === "comparisons" ? [event.timesteps] : []));
  expect(yields).toHaveLength(3);
  for (const timesteps of yields) {
    expect(timesteps.map(({ timestep }) => timestep)).toEqual([334, 1, 0]); // reached from 667, 334 and 1
    expect(timesteps.map(({ valid }) => valid)).toEqual([0, expect.any(Number), 2]);
  }
  const learned = events.flatMap((event) => (event.type === "pairs" ? [event.timesteps] : []));
  expect(learned.map((timesteps) => timesteps.map(({ timestep, pairs }) => [timestep, pairs]))).toEqual(
    yields.map((timesteps) =>
      timesteps.flatMap(({ timestep, valid }) => (valid > 0 ? [[timestep, valid]] : [])),
    ),
  );
});

test("thresholds that fall with the noise are refused", async () => {
  const config = { model: world.model, prompts: world.prompts, spm: world.lrm, output: "-", threshold: 0.5 };
  const run = eventsOfRun(join(folder, "falling"), "train spo", { ...config, thresholdMax: 0.4 }, trainSpo);
  await expect(run).rejects.toThrow(/thresholdMax is 0\.4, below threshold, which is 0\.5/);
});

test("a LoRA on the text encoder learns too: held-out samples are the policy's own, the reference stays the base", async () => {
  const settings = { rounds: 3, samples: 2, sampleEvery: 3, textEncoders: true, ema: 0.1 };
  const { metrics, events, weights } = await train({ ...settings, optimizer: { lr: 3e-3 } });
  expect(metrics[0]?.loss).toBeCloseTo(Math.LN2, 4);
  const up = [...weights].filter(([name]) => /^lora_te_.*lora_up/.test(name));
  expect(up.length).toBeGreaterThan(0);
  for (const [name, value] of up) expect(value.abs().max().item(), name).toBeGreaterThan(0);
  const drifts = events.flatMap((event) => (event.type === "eval" ? [event.metrics.drift as number] : []));
  expect(drifts[0]).toBe(0);
  expect(drifts[1]).toBeGreaterThan(0);
});

test("a new run begins with the weights of another's checkpoint or of a LoRA's file, against the base as before", async () => {
  const first = join(folder, `run-${runs}`);
  const { weights, metrics } = await train({ rounds: 2, saveEvery: 1 });
  expect(metrics[0]?.loss).toBeCloseTo(Math.LN2, 4);
  const begun = (from: string, more: object = {}) =>
    train({ from, rounds: 1, optimizer: { lr: 1e-12 }, ...more });
  const apart = (one: Map<string, Tensor>, other: Map<string, Tensor>): number =>
    Math.max(
      ...[...one].map(([name, value]) =>
        value
          .sub(other.get(name) as Tensor)
          .abs()
          .max()
          .item(),
      ),
    );
  const lora = join(first, "model", "pytorch_lora_weights.safetensors");
  for (const from of [first, lora]) {
    const again = await begun(from);
    expect(apart(weights, again.weights), from).toBeLessThan(1e-4);
    expect(Math.abs((again.metrics[0]?.loss as number) - Math.LN2), from).toBeGreaterThan(1e-3);
  }
  const earlier = await begun(`${first}@1`);
  expect(apart(weights, earlier.weights)).toBeGreaterThan(1e-3);
  await expect(begun(first, { rank: 3 })).rejects.toMatchObject({ code: "CONFIG" });
  await expect(begun(`${first}@7`)).rejects.toThrow(/no checkpoint of step 7/);
});
