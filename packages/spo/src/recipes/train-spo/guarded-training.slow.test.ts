// A judge that likes large values and a held-out scorer that likes small ones: the guard sees at once that they part.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { computedPart, readRun } from "@spo/records";
import { readSafetensors, scope } from "@spo/torch";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { StepAwareJudge } from "../../judges/judge.js";
import { makeTinyWorld, type TinyWorld } from "../tiny-world.fixture.js";
import { trainSpo } from "./train-spo.js";
import { TrainSpoConfig } from "./train-spo-config.js";

let folder: string;
let world: TinyWorld;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-guard-"));
  world = await makeTinyWorld(join(folder, "world"));
  writeFileSync(
    join(folder, "small.mjs"),
    "export default { prepare: () => ({ score: ({ x0 }) => x0.mean([1, 2, 3]).mul(-1) }) };",
  );
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const judge: StepAwareJudge = {
  prepare: () => ({ score: ({ x0 }) => scope(() => x0.mean([1, 2, 3]).mul(30)) }),
};

/** Trains, from the last checkpoint if the run is there; stops after the given event if it is named. */
async function train(name: string, settings: object, stopAt?: number) {
  const at = join(folder, name);
  const config = TrainSpoConfig.parse({
    ...{ model: world.model, prompts: world.prompts, output: join(at, "model"), samples: 3, sampleEvery: 1 },
    ...{ rounds: 9, promptsPerRound: 4, steps: 3, firstBranch: 0, candidates: 3, threshold: 0, saveEvery: 1 },
    ...{ batch: 16, microBatch: 16, guidanceScale: 2, stripEvery: 100, optimizer: { lr: 3e-3 }, ...settings },
  });
  const stop = new AbortController();
  try {
    for await (const event of trainSpo(config, { judge, run: join(at, "run"), signal: stop.signal }))
      if (event.type === "eval" && event.step === stopAt) stop.abort("stopped");
  } catch (error) {
    if (error !== "stopped") throw error;
  }
  return readRun(join(at, "run"));
}

const guards = (more: object): object => ({
  guards: { heldOutScorers: [join(folder, "small.mjs")], patience: 2, ...more },
});

test("a guard stops a training whose judge is exploited, says why, and gives the best weights as the result", async () => {
  const { events, result } = await train("stop", guards({}));
  const told = events.filter((event) => event.type === "guard");
  expect(told).toMatchObject([
    { step: 2, action: "stop", best: 0, reason: expect.stringContaining("at round 0") },
  ]);
  expect(events.filter(({ type }) => type === "step").at(-1)).toMatchObject({ step: 2 });
  expect(result).toMatchObject({ best: 0, stopped: told[0]?.type === "guard" && told[0].reason });
  // The best is the base itself, whose LoRA changes nothing.
  const saved = readSafetensors(join(folder, "stop", "model", "pytorch_lora_weights.safetensors"));
  const up = [...saved].filter(([key]) => key.endsWith("lora_up.weight"));
  for (const [key, value] of up) expect(value.abs().max().item(), key).toBe(0);
  const evals = events.flatMap((event) => (event.type === "eval" ? [event.metrics] : []));
  expect(evals.map(({ score }) => (score as number) > (evals[0]?.score as number))).toEqual([
    false,
    true,
    true,
  ]);
});

test("one that lowers halves the learning rate after each verdict, and a stopped run goes on to the same bits", async () => {
  const settings = { rounds: 5, ...guards({ action: "lower" }) };
  const whole = await train("lower", settings);
  const rates = whole.events.flatMap((event) => (event.type === "step" ? [event.metrics.lr] : []));
  const told = whole.events.flatMap((event) => (event.type === "guard" ? [event.step] : []));
  expect(told).toEqual([2, 4]);
  expect(rates).toEqual([3e-3, 3e-3, 1.5e-3, 1.5e-3, 0.75e-3]);
  await train("broken", settings, 3);
  const resumed = await train("broken", settings);
  expect(computedPart(resumed.events)).toEqual(
    computedPart(whole.events).map((event) =>
      event.type === "done" ? { ...event, result: { output: join(folder, "broken", "model") } } : event,
    ),
  );
});

test("one of diversity stops a training whose images of a prompt become alike, and gives the last that are diverse enough", async () => {
  const { events, result } = await train("alike", {
    optimizer: { lr: 1e-2 },
    guards: { imagesPerPrompt: 2, minDiversity: 0.975 },
  });
  const shares = events.flatMap((event) =>
    event.type === "eval" ? [event.metrics.diversity as number] : [],
  );
  const of = (round: number): number => (shares[round] as number) / (shares[0] as number);
  expect(shares).toHaveLength(3);
  expect(of(1)).toBeGreaterThan(0.975);
  expect(of(2)).toBeLessThan(0.975);
  const reason = expect.stringContaining("The images of a prompt have become alike");
  expect(events.filter(({ type }) => type === "guard")).toMatchObject([
    { step: 2, action: "stop", best: 1, reason },
  ]);
  expect(result).toMatchObject({ best: 1, stopped: reason });
});

test("a guard that only watches changes nothing of what is learned", async () => {
  const losses = (run: Awaited<ReturnType<typeof train>>) =>
    run.events.flatMap((event) => (event.type === "step" ? [event.metrics.loss] : []));
  const watched = await train("watched", {
    rounds: 3,
    ...guards({ patience: null, imagesPerPrompt: 2 }),
  });
  expect(losses(watched)).toEqual(losses(await train("plain", { rounds: 3 })));
  expect(watched.events.some(({ type }) => type === "guard")).toBe(false);
});
