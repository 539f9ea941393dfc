// What those who watch a training ask of it through its folder.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { askRun, computedPart, type Event, Run, type RunRequest } from "@spo/records";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type RecipeEvent, requestsNow, StopAsked } from "./recipe.js";
import { makeTinyWorld, type TinyWorld } from "./tiny-world.fixture.js";
import { trainSpo } from "./train-spo/train-spo.js";
import { TrainSpoConfig } from "./train-spo/train-spo-config.js";

let root: string;
let world: TinyWorld;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "spo-requests-"));
  world = await makeTinyWorld(join(root, "world"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** A training of three rounds that is asked by a watcher of its events; `ended`: why it ended before its time. */
async function train(name: string, asks: (event: RecipeEvent) => readonly RunRequest[] = () => []) {
  const output = join(root, "model"); // the same for all, as the settings of a run are
  const config = TrainSpoConfig.parse({
    ...{ model: world.model, prompts: world.prompts, output, judge: "random", samples: 1, sampleEvery: 3 },
    ...{ rounds: 3, promptsPerRound: 2, steps: 3, firstBranch: 0, candidates: 2, threshold: 0, saveEvery: 3 },
    ...{ heldOut: world.prompts, rank: 2 },
  });
  using run = Run.open(join(root, name), { kind: "train spo", config });
  let ended: unknown;
  try {
    for await (const event of trainSpo(config, { run }))
      for (const request of asks(event)) askRun(run.folder, request);
  } catch (error) {
    ended = error;
  }
  return { events: run.events(), ended };
}

const stepsOf = (events: readonly Event[], type: "sample" | "checkpoint"): number[] =>
  events.flatMap((event) => (event.type === type ? [event.step] : []));

test("a training that is asked draws, saves and stops after the step at work, and computes the same", async () => {
  const plain = await train("plain");
  expect([stepsOf(plain.events, "sample"), stepsOf(plain.events, "checkpoint")]).toEqual([[0, 3], [3]]);

  const asked = await train("asked", (event) =>
    event.type !== "comparisons" ? [] : event.step === 1 ? ["sample", "save"] : ["stop"],
  );
  expect(asked.ended).toBeInstanceOf(StopAsked);
  expect([stepsOf(asked.events, "sample"), stepsOf(asked.events, "checkpoint")]).toEqual([
    [0, 1],
    [1, 2],
  ]);
  expect(asked.events.filter(({ type }) => type === "eval")).toHaveLength(1); // nothing is decided by a sample that was asked for

  const { events, ended } = await train("asked");
  expect(ended).toBeUndefined();
  const computed = computedPart(events).filter((event) => !(event.type === "sample" && event.asked));
  expect(computed).toEqual(computedPart(plain.events));
});

test("rank 0 reads the folder for all, and a signal to any process stops all", async () => {
  using run = Run.open(join(root, "ranks"), { kind: "train spo", config: {} });
  askRun(run.folder, "save");
  const other = { requests: [], isStopping: true };
  const two = { rank: 0, size: 2, gather: async (mine: unknown) => [mine, other] };
  const context = { run, world: two, signal: new AbortController().signal } as unknown as Parameters<
    typeof requestsNow
  >[0];
  expect(await requestsNow(context)).toEqual({ sample: false, save: true, stop: true });
});
