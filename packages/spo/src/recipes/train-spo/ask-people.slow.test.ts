// People as the judge: a scripted one votes as Studio does, in the file beside the run's questions.
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Event, readRun, VoteLog } from "@spo/records";
import { readSafetensors, scope } from "@spo/torch";
import sharp from "sharp";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { StepAwareJudge } from "../../judges/judge.js";
import { makeTinyWorld, type TinyWorld } from "../tiny-world.fixture.js";
import type { Question } from "./question-set.js";
import { trainSpo } from "./train-spo.js";
import { TrainSpoConfig } from "./train-spo-config.js";

let folder: string;
let world: TinyWorld;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-people-"));
  world = await makeTinyWorld(join(folder, "world"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const at = (name: string, ...path: string[]): string => join(folder, name, "run", ...path);

const questionsOf = (name: string): Question[] =>
  existsSync(at(name, "human", "pairs.jsonl"))
    ? readFileSync(at(name, "human", "pairs.jsonl"), "utf8")
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line))
    : [];

/** Which image a person chooses: 0, 1, or neither. */
type Taste = (images: readonly [Buffer, Buffer]) => Promise<0 | 1 | "tie" | "both bad">;

const brightness = async (image: Buffer): Promise<number> => {
  const { channels } = await sharp(image).stats();
  return channels.reduce((sum, { mean }) => sum + mean, 0);
};
const brighter: Taste = async ([a, b]) => ((await brightness(a)) > (await brightness(b)) ? 0 : 1);

/** Answers all open questions once. */
async function answer(name: string, taste: Taste): Promise<number> {
  const log = await VoteLog.open(at(name, "human.votes.jsonl"));
  let count = 0;
  for (const { id, prompt, image_0, image_1, open } of questionsOf(name)) {
    const images = [image_0, image_1].map((file) => readFileSync(at(name, "human", file))) as [
      Buffer,
      Buffer,
    ];
    const [hash0, hash1] = images.map((image) => createHash("sha256").update(image).digest("hex")) as [
      string,
      string,
    ];
    if (!open || log.has(`${id} ${hash0}`)) continue;
    const said = await taste(images);
    count++;
    await log.append({
      ...{
        schema: "spo.vote/1",
        id: `${id} ${hash0}`,
        prompt,
        image_0: hash0,
        image_1: hash1,
        labeller: "anna",
      },
      preference: said === "both bad" ? null : said === "tie" ? 0.5 : 1 - said,
      asked: {
        ...{ pair: id, left: 0, seconds: 1, hasty: false, repeat: false },
        answer: typeof said === "number" ? (["left", "right"] as const)[said] : said,
      },
    });
  }
  await log.close();
  return count;
}

/** Trains; a person answers after every event. until: the round after which it is stopped. */
async function train(
  name: string,
  {
    taste,
    until,
    given,
    ...settings
  }: { taste?: Taste; until?: number; given?: StepAwareJudge } & Record<string, unknown>,
) {
  const config = TrainSpoConfig.parse({
    ...{ model: world.model, prompts: world.prompts, output: join(folder, name, "model"), samples: 0 },
    ...{ rounds: 4, promptsPerRound: 2, steps: 3, firstBranch: 0, candidates: 2, threshold: 0, saveEvery: 1 },
    ...{ batch: 64, microBatch: 4, guidanceScale: 2, stripEvery: 100, optimizer: { lr: 1e-2 } },
    ...(given ? {} : { judge: "human" }),
    ...settings,
  });
  const stop = new AbortController();
  try {
    for await (const event of trainSpo(config, { run: at(name), judge: given, signal: stop.signal })) {
      if (taste) await answer(name, taste);
      if (event.type === "step" && event.step === until) stop.abort("stopped");
    }
  } catch (error) {
    if (error !== "stopped") throw error;
  }
  return readRun(at(name)).events;
}

const sums = (events: readonly Event[]): Record<string, number> => {
  const total: Record<string, number> = {};
  for (const event of events)
    if (event.type === "step")
      for (const key of ["used", "none", "fallback", "pairs"])
        total[key] = (total[key] ?? 0) + ((event.metrics[key] as number | undefined) ?? 0);
  return total;
};

const human = (more: object = {}): object => ({ human: { questions: 2, patience: 0, ...more } });

test("questions are pictures of a set, and every answer is learned from once, also over a stop", async () => {
  const settings = { taste: brighter, rounds: 5, ...human() };
  await train("stopped", { ...settings, until: 2 });
  const halfway = readdirSync(at("stopped", "checkpoints")).length;
  expect(halfway).toBeGreaterThan(0);
  const events = await train("stopped", settings);
  const questions = questionsOf("stopped");
  expect(questions).toHaveLength(10);
  expect(questions.every(({ open, image_0 }) => !open && existsSync(at("stopped", "human", image_0)))).toBe(
    true,
  );
  // Those of the last round had no time to be answered.
  const { used, none, pairs } = sums(events);
  expect([used, none]).toEqual([8, 2]);
  expect(pairs).toBe(used);
  // Kept for the checkpoint before the last, at which these waited.
  expect(readdirSync(at("stopped", "human", "latents")).map((name) => name.slice(0, 8))).toEqual([
    "000003-0",
    "000003-1",
  ]);
});

test("the other taste teaches the opposite", async () => {
  const darker: Taste = async (images) => ((await brighter(images)) === 0 ? 1 : 0);
  const taught = async (name: string, taste: Taste) => {
    await train(name, { taste, rounds: 2, ...human() });
    return readSafetensors(join(folder, name, "model", "pytorch_lora_weights.safetensors"));
  };
  const [one, other] = [await taught("light", brighter), await taught("dark", darker)];
  // From B = 0 AdamW's first step goes against the gradient's sign, whatever its size.
  const signs = [...one].flatMap(([key, value]) => {
    if (!key.endsWith("lora_up.weight")) return [];
    const [a, b] = [value.toNumbers(), other.get(key)?.toNumbers() ?? []];
    return a.map((x, i) => Math.sign(x) * Math.sign(b[i] as number));
  });
  const opposite = signs.filter((sign) => sign < 0).length / signs.filter((sign) => sign !== 0).length;
  expect(opposite).toBeGreaterThan(0.9);
});

test("a tie and two bad ones give no pair; without an answer none is learned from when its time is over", async () => {
  const tied = await train("tie", { taste: async () => "tie", rounds: 3, ...human() });
  expect(sums(tied)).toMatchObject({ used: 0, none: 6, pairs: 0 });
  const bad = await train("bad", { taste: async () => "both bad", rounds: 3, ...human() });
  expect(sums(bad)).toMatchObject({ used: 0, none: 6, pairs: 0 });
  const silent = await train("silent", { rounds: 4, ...human({ maxAge: 2 }) });
  const open = silent.flatMap((event) => (event.type === "step" ? [event.metrics.open] : []));
  expect(open).toEqual([2, 4, 4, 0]); // two rounds old at most; at the end nobody is waited for
  expect(sums(silent)).toMatchObject({ used: 0, none: 8 });
});

test("beside a judge people decide the small gaps, and the judge stands in for them", async () => {
  const given: StepAwareJudge = {
    prepare: () => ({ score: ({ x0 }) => scope(() => x0.mean([1, 2, 3]).mul(30)) }),
  };
  const rounds = 2;
  const alone = await train("alone", { given, rounds });
  const nobody = await train("nobody", { given, rounds, human: { questions: 0, askBelow: 0.5 } });
  const losses = (events: readonly Event[]) =>
    events.flatMap((event) => (event.type === "step" ? [event.metrics.loss] : []));
  expect(losses(nobody)).toEqual(losses(alone));
  const asked = await train("mixed", {
    ...{ given, rounds, human: { questions: 99, askBelow: 0.5, patience: 0, fallback: "judge" } },
  });
  const questions = questionsOf("mixed");
  expect(questions.every(({ margin }) => margin < 0.5)).toBe(true);
  // Asked about all small gaps, and never answered: every pair is the judge's.
  expect(questions.length).toBeGreaterThan(0);
  expect(sums(asked)).toMatchObject({ used: 0, fallback: questions.length, pairs: sums(alone).pairs });
});

test.each([
  ["nobody is asked", { judge: "human" }, /human.questions is 0/],
  ["people stand beside another judge", { judge: "human,spm", human: { questions: 1 } }, /beside others/],
  [
    "the judge that there is not stands in",
    { judge: "human", human: { questions: 1, fallback: "judge" } },
    /only judge/,
  ],
  [
    "rounds are sampled in parts",
    { judge: "human", human: { questions: 1 }, reduce: "exact" },
    /one process/,
  ],
])("refused is a training where %s", async (_, settings, words) => {
  await expect(train(String(words), settings)).rejects.toMatchObject({
    code: "CONFIG",
    message: expect.stringMatching(words),
  });
});
