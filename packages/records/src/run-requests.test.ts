import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Run } from "./run.js";
import { askRun, openRequests } from "./run-requests.js";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "spo-requests-"));
});
afterEach(() => rmSync(root, { recursive: true }));

const open = (folder: string): Run => Run.open(folder, { kind: "train spo", config: {} });

test("what a run is asked twice it takes once", () => {
  using run = open(join(root, "run"));
  expect(run.takeRequests()).toEqual([]);
  for (const request of ["stop", "sample", "sample"] as const) askRun(run.folder, request);
  expect(openRequests(run.folder)).toEqual(["sample", "stop"]);
  expect(run.takeRequests()).toEqual(["sample", "stop"]);
  expect(run.takeRequests()).toEqual([]);
});

test("what was asked of a process that has ended is not asked of the next one", () => {
  const folder = join(root, "run");
  open(folder).close();
  askRun(folder, "stop");
  using run = open(folder);
  expect(run.takeRequests()).toEqual([]);
});

test("a process that follows a run takes nothing from who writes it", () => {
  using run = open(join(root, "run"));
  askRun(run.folder, "save");
  expect(Run.follow(run.folder).takeRequests()).toEqual([]);
  expect(run.takeRequests()).toEqual(["save"]);
});

test("a run that failed at its start leaves no folder, whatever it was asked", () => {
  const run = open(join(root, "run"));
  askRun(run.folder, "stop");
  run.discardUnused();
  expect(readdirSync(root)).toEqual([]);
});

test("a folder that is not there cannot be asked, and that is told", () => {
  expect(() => askRun(join(root, "none"), "save")).toThrow(expect.objectContaining({ code: "RESOURCE" }));
});
