import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ActivityFile } from "./activity.js";
import { Run, readActivity } from "./index.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "spo-activity-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const sampling = (done: number) => ({ phase: "sampling", done, total: 20, at: "2026-01-01T00:00:00Z" });

test("one phase is written at most once a second, another at once", () => {
  const file = new ActivityFile(folder);
  file.tell(sampling(1), 0);
  file.tell(sampling(2), 999);
  expect(readActivity(folder)?.done).toBe(1);
  file.tell(sampling(3), 1000);
  expect(readActivity(folder)).toEqual(sampling(3));
  file.tell({ ...sampling(0), phase: "updating" }, 1001);
  expect(readActivity(folder)?.phase).toBe("updating");
});

test("a run that is closed does nothing any more, and leaves no file of it", () => {
  const run = Run.open(join(folder, "run"), { kind: "train spo", config: {} });
  run.tellPhase("loading the model");
  expect(readActivity(run.folder)).toMatchObject({ phase: "loading the model", done: 0, total: 0 });
  run.close();
  expect(readdirSync(run.folder)).not.toContain("activity.json");
});

test("a training at work tells how long it will take, once its steps have told", () => {
  using run = Run.open(join(folder, "run"), { kind: "train spo", config: {} });
  run.step(1, 10, {});
  expect(readActivity(run.folder)).toMatchObject({ phase: "updating", total: 0 });
  expect(readActivity(run.folder)?.left).toBeUndefined();
  run.step(2, 10, {});
  run.tellPhase("measuring", { done: 0, total: 2 });
  expect(readActivity(run.folder)?.left).toBeGreaterThan(0);
});

test("a run that has ended does nothing any more, though its process still lives", () => {
  using run = Run.open(join(folder, "run"), { kind: "train spo", config: {} });
  run.tellPhase("drawing held-out samples", { done: 1, total: 2 });
  run.done({});
  expect(readActivity(run.folder)).toBeUndefined();
});

test("a run that failed at its start is taken away whole, though it had said what it did", () => {
  const run = Run.open(join(folder, "run"), { kind: "train spo", config: {} });
  run.tellPhase("loading the model");
  run.discardUnused();
  expect(existsSync(join(folder, "run"))).toBe(false);
});

test("a place that cannot be written stops nothing", () => {
  mkdirSync(join(folder, "activity.json"));
  const file = new ActivityFile(folder);
  file.tell(sampling(1));
  file.clear();
});

test.each(["", '{"phase":', "[]", '{"phase":1}', "x".repeat(10_000)])(
  "a file that holds %j says nothing",
  (text) => {
    writeFileSync(join(folder, "activity.json"), text);
    expect(readActivity(folder)).toBeUndefined();
  },
);
