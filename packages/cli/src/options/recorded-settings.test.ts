import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Run } from "@spo/records";
import { pathsOf, TrainDpoConfig } from "spo/schemas";
import { afterEach, beforeEach, expect, test } from "vitest";
import { recordedSettings } from "./recorded-settings.js";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "spo-recorded-"));
});
afterEach(() => rmSync(root, { recursive: true }));

const of = (run: string, ...args: string[]) =>
  recordedSettings(join(root, run), "train dpo", TrainDpoConfig, args, []);

/** In a folder with its pairs, its output inside. */
function begin(): void {
  mkdirSync(join(root, "work"));
  writeFileSync(join(root, "work", "pairs.parquet"), "");
  const config = TrainDpoConfig.parse({
    ...{ model: "/far/model", pairs: [join(root, "work", "pairs.parquet")], steps: 30 },
    output: join(root, "work", "run", "model"),
  });
  const mapPaths = pathsOf(TrainDpoConfig);
  Run.open(join(root, "work", "run"), { kind: "train dpo", config, mapPaths }).close();
}

test("a run's settings are those that it was begun with, with paths to where things lie now that all was moved", () => {
  begin();
  renameSync(join(root, "work"), join(root, "moved"));
  expect(of("moved/run")).toMatchObject({
    ...{ model: "/far/model", pairs: [join(root, "moved", "pairs.parquet")], steps: 30 },
    output: join(root, "moved", "run", "model"),
  });
});

test("they stand for what is not named, and only where all that is named may change of a run", () => {
  begin();
  expect(of("work/run", "--steps", "60", "device=cuda")).toMatchObject({ steps: 30 });
  for (const args of [["beta=2"], ["sd15"], ["my.json", "steps=60"], ["steps=60", "optimizer.lr=1"]])
    expect(of("work/run", ...args), args.join(" ")).toBeUndefined();
  expect(of("none")).toBeUndefined();
  expect(recordedSettings(join(root, "work/run"), "train spo", TrainDpoConfig, [], [])).toBeUndefined();
});
