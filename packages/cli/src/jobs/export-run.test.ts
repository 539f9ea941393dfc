import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Run } from "@spo/records";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { exportRun } from "./export-run.js";

let root: string;
let folder: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "spo-export-"));
  folder = join(root, "run");
  using run = Run.open(folder, { kind: "train spo", config: {} });
  run.step(1, 2, { loss: 0.5 });
  run.eval(1, { score: Number.NaN });
  vi.spyOn(process.stdout, "write").mockReturnValue(true);
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(root, { recursive: true });
});

test("csv and parquet lie in the run's folder, and hold the same rows", () => {
  exportRun(folder, { to: "csv" });
  exportRun(folder, { to: "parquet" });
  expect(readFileSync(join(folder, "metrics.csv"), "utf8").split("\r\n").slice(0, 3)).toEqual([
    "type,step,at,loss,score",
    expect.stringMatching(/^step,1,.*,0\.5,$/),
    expect.stringMatching(/^eval,1,.*,,NaN$/),
  ]);
  expect(readFileSync(join(folder, "metrics.parquet")).subarray(0, 4).toString()).toBe("PAR1");
});

test("TensorBoard's files are written once: a run that has them is not doubled", () => {
  expect(() => exportRun(folder, { to: "tensorboard" })).toThrow(/there already/);
  exportRun(folder, { to: "tensorboard", output: join(root, "board") });
  expect(readdirSync(join(root, "board")).sort()).toEqual(["measurements", "updates"]);
});
