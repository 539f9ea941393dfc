import { cpSync, mkdirSync, mkdtempSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { pathOfRun, Run, readRun } from "./index.js";

/** A project in which `runs/spo` was trained from `models/sd15`, its result in the run's folder. */
let top: string;
const cwd = process.cwd();
beforeEach(() => {
  top = realpathSync(mkdtempSync(join(tmpdir(), "spo-places-")));
  mkdirSync(join(top, "project", "models", "sd15"), { recursive: true });
  process.chdir(join(top, "project"));
  using run = Run.open("runs/spo", { kind: "train spo", config: { model: "models/sd15" } });
  mkdirSync("runs/spo/model");
  run.done({ output: "runs/spo/model" });
});
afterEach(() => {
  process.chdir(cwd);
  rmSync(top, { recursive: true });
});

const model = (folder: string): string => pathOfRun(readRun(folder), "models/sd15", { what: "model" });
const result = (folder: string): string =>
  pathOfRun(readRun(folder), "runs/spo/model", { what: "result", made: true });

test("from any folder, relative to the run and not to where one is", () => {
  process.chdir(top);
  mkdirSync("models/sd15", { recursive: true }); // another one of that name
  expect(model("project/runs/spo")).toBe(join(top, "project/models/sd15"));
  expect(result(join(top, "project/runs/spo"))).toBe(join(top, "project/runs/spo/model"));
});

test("after the project was moved, and after the run alone was, its base being where one is", () => {
  renameSync(join(top, "project"), join(top, "elsewhere"));
  process.chdir(top);
  expect(model("elsewhere/runs/spo")).toBe(join(top, "elsewhere/models/sd15"));
  renameSync(join(top, "elsewhere/runs/spo"), join(top, "spo"));
  process.chdir(join(top, "elsewhere"));
  expect(model("../spo")).toBe(join(top, "elsewhere/models/sd15"));
  expect(result("../spo")).toBe(join(top, "spo/model"));
});

test("of a copy the copy's result is meant", () => {
  cpSync("runs/spo", "runs/copy", { recursive: true });
  expect(result("runs/copy")).toBe(join(top, "project/runs/copy/model"));
});

test("of a run that does not tell where it was begun, in the folders above it", () => {
  const log = "runs/spo/events.jsonl";
  writeFileSync(log, '{"type":"start","kind":"train spo","time":{"at":"","wall":0,"cpu":0}}\n');
  process.chdir(top);
  expect(model("project/runs/spo")).toBe(join(top, "project/models/sd15"));
});

test("what is nowhere is told with the run that names it", () => {
  rmSync("models", { recursive: true });
  process.chdir(top);
  expect(() => model("project/runs/spo")).toThrow(
    /^project\/runs\/spo names models\/sd15 as its model, and there is none: looked for .*project\/models\/sd15, /,
  );
});
