import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Run } from "@spo/records";
import { AdamW, tensor } from "@spo/torch";
import { type RecipeEvent, Update } from "spo/recipes";
import { afterAll, expect, test } from "vitest";
import { pretrainingSteps } from "./pretrain-loop.js";

const folder = mkdtempSync(join(tmpdir(), "spo-pretraining-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** A number that is to become 1 in four steps, its rate rising in one and falling in two. */
async function pretrain(name: string, signal = new AbortController().signal) {
  const x = tensor([0]);
  x.requiresGrad = true;
  const optimizer = new AdamW([x], { lr: 0.1 });
  const events: RecipeEvent[] = [];
  using run = Run.open(join(folder, name), { kind: "pretrain vae", config: {} });
  const state = { modules: { x: { namedParameters: () => new Map([["x", x]]) } }, optimizer };
  const steps = pretrainingSteps(
    { run, signal },
    {
      config: { steps: 4, lr: 0.1, saveEvery: 3 },
      state,
      update: new Update({ parameters: [x], optimizer, maxGradNorm: null }),
      warmup: 1,
      cosineSteps: 3,
      backward: (step) => {
        const loss = x.sub(1).square().sum();
        loss.backward();
        return { loss: loss.item(), asked: step };
      },
    },
  );
  const ended = await (async () => {
    for await (const event of steps) events.push(event);
    for await (const event of run.done({})) events.push(event); // a checkpoint is told of when it is written
  })().catch((error: unknown) => error);
  return { events, ended, value: x.item() };
}

const stepsOf = (events: readonly RecipeEvent[]) =>
  events.flatMap((event) =>
    event.type === "step" ? [[event.step, event.metrics.asked, event.metrics.lr]] : [],
  );
const savedOf = (events: readonly RecipeEvent[]) =>
  events.flatMap((event) => (event.type === "checkpoint" ? [event.step] : []));

test("a pretraining saves at its interval and its end, at the rate of its position", async () => {
  const { events, ended, value } = await pretrain("whole");
  expect(ended).toBeUndefined();
  expect(stepsOf(events)).toEqual([
    [1, 0, 0],
    [2, 1, 0.1],
    [3, 2, expect.closeTo(0.05, 12)],
    [4, 3, expect.closeTo(0, 12)],
  ]);
  expect(savedOf(events)).toEqual([3, 4]);
  expect(value).toBeGreaterThan(0.1);
});

test("one that is stopped after a step goes on from there to the same number", async () => {
  const { value } = await pretrain("unbroken");
  const stopped = await pretrain("stopped", AbortSignal.abort("enough"));
  expect(stopped.ended).toBe("enough");
  expect(savedOf(stopped.events)).toEqual([1]);
  const resumed = await pretrain("stopped");
  expect(stepsOf(resumed.events).map(([step]) => step)).toEqual([2, 3, 4]);
  expect(resumed.value).toBe(value);
});
