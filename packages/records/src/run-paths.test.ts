import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type MapPaths, pathOfRun, Run, type RunSettings, readRun } from "./index.js";

const mapPaths: MapPaths = (config, map) =>
  Object.fromEntries(
    Object.entries(config).map(([key, value]) => [key, typeof value === "string" ? map(value) : value]),
  );
const settings = (model: string, output: string): RunSettings => ({
  kind: "train spo",
  config: { model, output, steps: 2 },
  mapPaths,
  mayChange: { settings: [] },
});

/** A project in which `runs/spo` was trained from `models/sd15`, its result in the run's folder. */
let top: string;
const cwd = process.cwd();
beforeEach(() => {
  top = realpathSync(mkdtempSync(join(tmpdir(), "spo-places-")));
  mkdirSync(join(top, "project", "models", "sd15"), { recursive: true });
  process.chdir(join(top, "project"));
  using run = Run.open("runs/spo", settings("models/sd15", "runs/spo/model"));
  mkdirSync("runs/spo/model");
  run.done({ output: "runs/spo/model" });
});
afterEach(() => {
  process.chdir(cwd);
  rmSync(top, { recursive: true });
});

const found = (folder: string, of: "model" | "output", made = false): string => {
  const run = readRun(folder);
  return pathOfRun(run, String(run.config[of]), { what: of, made });
};
const model = (folder: string): string => found(folder, "model");
const result = (folder: string): string => found(folder, "output", true);
const written = (folder: string): unknown => JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));

/** An earlier version wrote paths as they were given, from the current folder. */
function writeAsBefore(folder: string): void {
  const config = { kind: "train spo", model: "models/sd15", output: "runs/spo/model", steps: 2 };
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
}

test("paths are written relative to the run's folder, or absolute where they were given so", () => {
  expect(written("runs/spo")).toEqual({
    kind: "train spo",
    runFolder: join(top, "project/runs/spo"),
    model: "../../models/sd15",
    output: "./model",
    steps: 2,
  });
  const absolute = settings(join(top, "project/models/sd15"), join(top, "project/runs/other/a/model"));
  Run.open("runs/other", absolute).close();
  expect(readRun("runs/other").config).toEqual({
    model: join(top, "project/models/sd15"),
    output: "./a/model",
    steps: 2,
  });
});

describe.each([
  ["of this version", () => {}],
  ["of an earlier version", writeAsBefore],
])("a run %s", (_, write) => {
  beforeEach(() => write("runs/spo"));

  test("has its paths from any folder, relative to the run and not to where one is", () => {
    process.chdir(top);
    mkdirSync("models/sd15", { recursive: true }); // another one of that name
    expect(model("project/runs/spo")).toBe(join(top, "project/models/sd15"));
    expect(result(join(top, "project/runs/spo"))).toBe(join(top, "project/runs/spo/model"));
  });

  test("has them after the project was moved", () => {
    renameSync("../project", "../elsewhere");
    process.chdir(top);
    expect(model("elsewhere/runs/spo")).toBe(join(top, "elsewhere/models/sd15"));
    expect(result("elsewhere/runs/spo")).toBe(join(top, "elsewhere/runs/spo/model"));
  });

  test("of a copy means the copy's result", () => {
    cpSync("runs/spo", "runs/copy", { recursive: true });
    expect(result("runs/copy")).toBe(join(top, "project/runs/copy/model"));
  });

  test("goes on from another folder, and with its project moved", () => {
    process.chdir(top);
    Run.open("project/runs/spo", settings("project/models/sd15", "project/runs/spo/model")).close();
    renameSync("project", "elsewhere");
    process.chdir("elsewhere");
    Run.open("runs/spo", settings("models/sd15", "runs/spo/model")).close();
    expect(() => Run.open("runs/spo", settings("models/sdxl", "runs/spo/model"))).toThrow(/model: there/);
  });
});

test("a run that was moved alone still finds what lies outside it, and goes on", () => {
  renameSync("runs/spo", "../spo");
  process.chdir("/");
  const folder = join(top, "spo");
  expect(model(folder)).toBe(join(top, "project/models/sd15"));
  expect(result(folder)).toBe(join(top, "spo/model"));
  {
    using run = Run.open(folder, settings(join(top, "project/models/sd15"), join(folder, "model")));
    run.resume(() => {});
  }
  // As it lies now, for the next move.
  expect(written(folder)).toMatchObject({ runFolder: folder, model: join(top, "project/models/sd15") });
  expect(readRun(folder).events.filter(({ type }) => type === "settings")).toEqual([]);
});

test("of an earlier version, moved alone, it needs to be called where its base is", () => {
  writeAsBefore("runs/spo");
  renameSync("runs/spo", "../spo");
  expect(model("../spo")).toBe(join(top, "project/models/sd15"));
});

test("a path that was absolute stays where it was, and is followed where all was moved", () => {
  const absolute = settings(join(top, "project/models/sd15"), join(top, "project/runs/other/model"));
  Run.open("runs/other", absolute).close();
  cpSync(join(top, "project"), join(top, "copy"), { recursive: true });
  expect(model("../copy/runs/other")).toBe(join(top, "project/models/sd15"));
  renameSync("../project", "../gone");
  expect(model(join(top, "copy/runs/other"))).toBe(join(top, "copy/models/sd15"));
});

test("of a run that does not tell where it was begun, in the folders above it", () => {
  writeAsBefore("runs/spo");
  const log = "runs/spo/events.jsonl";
  writeFileSync(log, '{"type":"start","kind":"train spo","time":{"at":"","wall":0,"cpu":0}}\n');
  process.chdir(top);
  expect(model("project/runs/spo")).toBe(join(top, "project/models/sd15"));
});

test("what is nowhere is told with the run that names it", () => {
  rmSync("models", { recursive: true });
  process.chdir(top);
  expect(() => model("project/runs/spo")).toThrow(
    /^project\/runs\/spo names ..\/..\/models\/sd15 as its model, and there is none: looked for .*project\/models\/sd15\.$/,
  );
});

test("a run of an earlier version whose log is gone is the same where its paths are written as they were", () => {
  writeAsBefore("runs/spo");
  rmSync("runs/spo/events.jsonl");
  Run.open("runs/spo", settings("models/sd15", "runs/spo/model")).close();
});
