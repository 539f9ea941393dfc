import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Run } from "@spo/records";
import { afterEach, beforeEach, expect, test } from "vitest";
import { RunIndex } from "./run-index.js";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "spo-run-index-"));
});
afterEach(() => rmSync(root, { recursive: true }));

/** A run with a step; open: whether this process goes on writing it. */
function makeRun(name: string, { open = false } = {}): Run {
  const run = Run.open(join(root, name), { kind: "train spo", config: { a: 1 } });
  run.step(3, 40, { loss: 0.5 });
  if (!open) run.close();
  return run;
}

test("runs are found at any depth, inside a comparison too, none among a run's own files, none behind a link", async () => {
  makeRun("first");
  makeRun("grid/a/b");
  makeRun("first/inner");
  makeRun("first/model/x");
  const outside = mkdtempSync(join(tmpdir(), "spo-outside-"));
  Run.open(join(outside, "secret"), { kind: "train spo", config: {} }).close();
  symlinkSync(outside, join(root, "linked"));
  mkdirSync(join(root, "empty"));
  mkdirSync(join(root, "false"));
  symlinkSync(join(outside, "secret", "events.jsonl"), join(root, "false", "events.jsonl"));
  const names = (await new RunIndex(root).list()).map(({ name }) => name);
  expect(names.sort()).toEqual(["first", "first/inner", "grid/a/b"]);
  rmSync(outside, { recursive: true });
});

test("a folder that is a run itself is listed as one", async () => {
  makeRun("only");
  const [run] = await new RunIndex(join(root, "only")).list();
  expect(run).toMatchObject({ name: "only", kind: "train spo", step: 3, total: 40 });
});

test("the state is that of the process and the log: running, stopped, finished, killed", async () => {
  const running = makeRun("running", { open: true });
  makeRun("stopped");
  const ended = makeRun("finished", { open: true });
  ended.done({ output: "x" });
  ended.close();
  makeRun("killed");
  // The lock of a process of this machine that lives no more.
  const lock = JSON.parse(readFileSync(join(root, "running", "writer.json"), "utf8"));
  writeFileSync(join(root, "killed", "writer.json"), JSON.stringify({ ...lock, pid: 2 ** 22 + 1 }));
  const index = new RunIndex(root);
  const states = async () => Object.fromEntries((await index.list()).map(({ name, state }) => [name, state]));
  expect(await states()).toEqual({
    running: "running",
    stopped: "stopped",
    finished: "finished",
    killed: "killed",
  });
  running.close();
  expect((await states()).running).toBe("stopped"); // though its log has not changed
});

test("a step that is recorded later shows, and so does a run that is begun later", async () => {
  const run = makeRun("first", { open: true });
  const index = new RunIndex(root);
  const [before] = await index.list();
  run.step(4, 40, { loss: 0.4 });
  const [after] = await index.list();
  expect([before?.step, after?.step]).toEqual([3, 4]);
  run.close();
});

test("a log that is damaged, empty or of a newer version is listed with what is wrong", async () => {
  makeRun("good");
  makeRun("newer");
  appendFileSync(
    join(root, "newer", "events.jsonl"),
    '{"type":"dream","time":{"at":"x","wall":0,"cpu":0}}\n',
  );
  makeRun("torn");
  appendFileSync(join(root, "torn", "events.jsonl"), '{"type":"st');
  mkdirSync(join(root, "empty"));
  writeFileSync(join(root, "empty", "events.jsonl"), "");
  mkdirSync(join(root, "garbage"));
  writeFileSync(join(root, "garbage", "events.jsonl"), `${"x".repeat(100_000)}\n`);
  const runs = Object.fromEntries((await new RunIndex(root).list()).map((run) => [run.name, run]));
  expect(runs.good?.fault).toBeUndefined();
  expect(runs.newer).toMatchObject({ step: 3, fault: expect.stringMatching(/newer version/) });
  expect(runs.torn).toMatchObject({ step: 3, state: "stopped" });
  expect(runs.torn?.fault).toBeUndefined(); // a half line at the end is a write under way
  for (const name of ["empty", "garbage"])
    expect(runs[name]).toMatchObject({ state: "damaged", fault: expect.stringMatching(/does not begin/) });
});
