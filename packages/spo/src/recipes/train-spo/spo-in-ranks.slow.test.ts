// What a training by several processes learns is what one learns.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { computedPart, type Event, type EventBody, readRun } from "@spo/records";
import { stripFileName } from "@spo/records/report";
import { scope, tensor } from "@spo/torch";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { StepAwareJudge } from "../../judges/judge.js";
import { inRanks } from "../local-worlds.fixture.js";
import { makeTinyWorld, PROMPTS, type TinyWorld } from "../tiny-world.fixture.js";
import { trainSpo } from "./train-spo.js";
import { TrainSpoConfig } from "./train-spo-config.js";

let folder: string;
let world: TinyWorld;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-ranks-"));
  world = await makeTinyWorld(join(folder, "world"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Likes large values of some prompts; of the others it likes all candidates alike, so they give no pair. */
const judgeOf = (pleases: (prompt: string) => boolean): StepAwareJudge => ({
  prepare: (prompts) => ({
    score: ({ x0 }, rows) =>
      scope(() => {
        const weights = rows.map((row) => (pleases(prompts[row] as string) ? 30 : 0));
        return x0.mean([1, 2, 3]).mul(tensor(weights));
      }),
  }),
});

const SETTINGS = {
  ...{ rounds: 3, promptsPerRound: 3, steps: 3, firstBranch: 0, candidates: 2, threshold: 0, saveEvery: 1 },
  ...{ batch: 4, microBatch: 2, guidanceScale: 2, stripEvery: 2, samples: 0, optimizer: { lr: 1e-2 } },
};

/** Trains by several ranks, from the run's last checkpoint if it has one, and stops after a number of rounds if it is told. */
async function train(
  size: number,
  name: string,
  {
    judge,
    until,
    ...settings
  }: { judge: StepAwareJudge | "random"; until?: number } & Record<string, unknown>,
) {
  const at = join(folder, name);
  const config = TrainSpoConfig.parse({
    ...{ model: world.model, prompts: world.prompts, output: join(at, "model"), ...SETTINGS, ...settings },
    ...(judge === "random" && { judge }),
  });
  const told = await inRanks(size, async (ranks) => {
    const events: Event[] = [];
    const stop = new AbortController();
    try {
      const given = judge === "random" ? undefined : judge;
      const options = { judge: given, world: ranks, run: join(at, "run"), signal: stop.signal };
      for await (const event of trainSpo(config, options)) {
        events.push(event);
        // One rank alone is asked to stop.
        if (event.type === "comparisons" && event.step === until && ranks.rank === size - 1)
          stop.abort("asked");
      }
    } catch (error) {
      if (until === undefined) throw error;
    }
    return computedPart(events);
  });
  return { told, events: computedPart(readRun(join(at, "run")).events), at };
}

const weightsOf = ({ at }: { at: string }): Buffer =>
  readFileSync(join(at, "model", "pytorch_lora_weights.safetensors"));
const lossesOf = ({ events }: { events: readonly EventBody[] }): number[] =>
  events.flatMap((event) => (event.type === "step" && event.metrics.loss ? [event.metrics.loss] : []));
const withoutPlaces = (events: readonly EventBody[]) => events.filter(({ type }) => type !== "done");

const uneven = judgeOf((prompt) => PROMPTS.indexOf(prompt) < 3);
const nothing = judgeOf(() => false);

test("added up exactly, two and three ranks learn, record and show the bits of one, also in other numbers after breaks", async () => {
  const exact = { reduce: "exact", judge: uneven };
  const one = await train(1, "exact-1", exact);
  const pairs = one.events.flatMap((event) => (event.type === "step" ? [event.metrics.pairs as number] : []));
  // Three comparisons of three prompts a round: some have no pair.
  const found = pairs.reduce((sum, of) => sum + of, 0);
  expect(found).toBeGreaterThan(0);
  expect(found).toBeLessThan(27);
  const others = [await train(2, "exact-2", exact), await train(3, "exact-3", exact)];
  for (const [ranks, until] of [
    [2, 1],
    [1, 2],
  ] as const)
    await train(ranks, "exact-broken", { ...exact, until });
  others.push(await train(3, "exact-broken", exact));
  for (const other of others) {
    expect(weightsOf(other)).toEqual(weightsOf(one));
    expect(withoutPlaces(other.events)).toEqual(withoutPlaces(one.events));
    const strips = (of: typeof one) => readFileSync(join(of.at, "run/strips", stripFileName(2)), "utf8");
    expect(strips(other)).toEqual(strips(one));
  }
  // Every rank tells the same, so each decides the same.
  const [two] = others;
  expect(withoutPlaces(two?.told[1] ?? [])).toEqual(
    withoutPlaces(two?.told[0] ?? []).filter(({ type }) => type !== "checkpoint"),
  );
});

test.each([
  ["a judge that leaves ranks without pairs", "uneven", uneven],
  ["random scores", "random", "random" as const],
])(
  "added up at once, by %s, two and three ranks learn what one does but for rounding",
  async (_, name, judge) => {
    const run = (size: number) => train(size, `${name}-${size}`, { judge, rounds: 2 });
    const [one, two, three] = [await run(1), await run(2), await run(3)];
    expect(lossesOf(one).length).toBeGreaterThan(2);
    for (const other of [two, three]) {
      expect(lossesOf(other)).toHaveLength(lossesOf(one).length);
      for (const [i, loss] of lossesOf(one).entries())
        expect((lossesOf(other)[i] as number) / loss).toBeCloseTo(1, 5);
    }
  },
);

test("rounds in which no rank finds a pair end, and so does the training", async () => {
  const { events } = await train(2, "nothing", { judge: nothing, rounds: 2 });
  const pairs = events.flatMap((event) => (event.type === "step" ? [event.metrics.pairs] : []));
  expect(pairs).toEqual([0, 0]);
});

test("more ranks than prompts of a round are refused", async () => {
  await expect(train(3, "idle", { promptsPerRound: 2, judge: nothing })).rejects.toThrow(
    expect.objectContaining({ code: "CONFIG", message: "promptsPerRound is 2, and here are 3 processes." }),
  );
});
