// People judge a training through Studio, while the training and Studio are killed.
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { openPairs } from "@spo/data";
import { readRun, type Vote } from "@spo/records";
import type { JudgingList, NextPairs } from "@spo/studio";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cli, startCli } from "./cli.js";
import { type StudioProcess, startStudio } from "./studio-server.js";
import { makeTinyWorld, type TinyWorld } from "./tiny-models.js";

let root: string;
let world: TinyWorld;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "spo-human-e2e-"));
  world = await makeTinyWorld(join(root, "world"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

test("a training waits for a person's answers and learns from each once, though it and Studio are killed; the votes serve a preference model", async () => {
  const runs = join(root, "runs");
  const run = join(runs, "asking");
  const settings =
    "--judge human --human.questions 3 --human.open 3 --rounds 5 --prompts-per-round 2 --steps 3 --first-branch 0 --candidates 2 --samples 0 --save-every 1 --strip-every 100 --batch 64 --guidance-scale 2";
  const words = ["train", "spo", "--model", world.model, "--prompts", world.prompts, "--run", run];
  const begin = () => startCli([...words, ...settings.split(" ")]);
  let training = begin();
  while (!existsSync(join(run, "human", "pairs.jsonl"))) await sleep(50);
  let studio: StudioProcess = await startStudio(runs);

  /** Answers what Studio shows; how many were kept. */
  const answer = async (): Promise<number> => {
    const { sets } = (await (await studio.get("/api/judging")).json()) as JudgingList;
    const id = sets.find(({ title }) => title === "asking/human")?.id;
    if (!id) return 0;
    const asked = await studio.get(`/api/judging/${id}/next?labeller=anna`);
    const { next } = (await asked.json()) as NextPairs;
    for (const { pair, repeat } of next) {
      const vote = { id: `vote-${pair}`, pair, labeller: "anna", answer: "left", seconds: 1, repeat };
      const kept = await fetch(`${studio.origin}/api/judging/${id}/votes`, {
        method: "POST",
        headers: { authorization: `Bearer ${studio.token}`, "content-type": "application/json" },
        body: JSON.stringify(vote),
      });
      expect(kept.status).toBe(200);
    }
    return next.length;
  };
  const rounds = (): number =>
    Math.max(0, ...readRun(run).events.map((event) => (event.type === "step" ? event.step : 0)));
  /** Answers until the training has done so many rounds. */
  const until = async (round: number): Promise<void> => {
    while (rounds() < round) {
      await answer();
      await sleep(100);
    }
  };
  await until(2);
  training.process.kill("SIGKILL");
  studio.process.kill("SIGKILL");
  await Promise.all([training.ended, studio.ended]);
  studio = await startStudio(runs);
  training = begin();
  const ended = training.ended.then(({ code, stderr }) => {
    expect(stderr).not.toMatch(/error/i);
    return code;
  });
  let code: number | null | undefined;
  void ended.then((found) => {
    code = found;
  });
  while (code === undefined) {
    await answer();
    await sleep(100);
  }
  expect(code).toBe(0);
  await studio.stop();

  const { events } = readRun(run);
  const used = events.map((event) => (event.type === "step" ? (event.metrics.used as number) : 0));
  expect(used.reduce((sum, n) => sum + n, 0)).toBe(15); // three of each of five rounds
  const votes = readFileSync(join(run, "human.votes.jsonl"), "utf8").trim().split("\n");
  const ids = votes.map((line) => (JSON.parse(line) as Vote).id);
  expect(new Set(ids).size).toBe(ids.length);

  const trained = join(root, "trained");
  const spm = ["--spm", `init=${world.spm}`, "steps=2", "batch=2", "bank=4", "warmup=0"];
  const spo = ["--spo", ..."rounds=1 promptsPerRound=1 steps=2 firstBranch=0 samples=0".split(" ")];
  const both = await cli([
    "train",
    "votes",
    join(run, "human"),
    "--model",
    world.model,
    "--run",
    trained,
    ...spm,
    ...spo,
  ]);
  expect([both.code, both.stderr]).toEqual([0, expect.stringContaining("15 pairs")]);
  for (const which of ["spm", "spo"]) expect(readRun(join(trained, which)).result).toBeDefined();
  const source = await openPairs(join(trained, "pairs.parquet"));
  const facts = (await Promise.all(source.blocks.map((_, block) => source.facts(block)))).flat();
  await source.close();
  expect(facts.every(({ labelled: isLabelled }) => isLabelled)).toBe(true);
});
