import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readSafetensors, type Tensor, tensor, writeSafetensors } from "@spo/torch";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Evaluation, keyOf, readEvaluated } from "./jobs.js";
import { readSnapshot, takeSnapshot } from "./snapshot.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "spo-snapshot-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const snapshot = { step: 7, spent: { wall: 1, cpu: 2, passes: {} } } as Parameters<typeof takeSnapshot>[2];
const takenFrom = (state: Record<string, number>): Record<string, number> => {
  const tensors = Object.entries(state).map(([name, value]): [string, Tensor] => [name, tensor([value])]);
  const path = join(folder, "training-state.safetensors");
  writeSafetensors(path, new Map(tensors));
  takeSnapshot(join(folder, "snapshot"), path, snapshot);
  const weights = readSafetensors(join(folder, "snapshot", "policy.safetensors"));
  return Object.fromEntries([...weights].map(([name, value]) => [name, value.item()]));
};

test("a snapshot has the policy's weights alone, and says when they were taken", () => {
  expect(takenFrom({ "policy/a.weight": 1, "policy/b": 2, "optimizer/exp_avg.0": 3 })).toEqual({
    "a.weight": 1,
    b: 2,
  });
  expect(readSnapshot(join(folder, "snapshot"))).toEqual(snapshot);
});

test("where a training averages weights, the average is what is measured", () => {
  expect(takenFrom({ "policy/a": 1, "policy/b": 2, "average/a": 1.5, "average/b": 2.5 })).toEqual({
    a: 1.5,
    b: 2.5,
  });
});

test("a damaged file of a comparison is refused in words, a snapshot's and an evaluation's", () => {
  const file = join(folder, "evaluation.json");
  const job: Evaluation = {
    kind: "evaluation",
    file,
    policy: { model: "m", adapter: "lora", alpha: null, targets: null, textEncoders: false, rank: 2 },
    judge: "j",
    choices: [],
    sampled: { prompts: ["a"], seeds: [1], perPrompt: 1 },
    sampling: { steps: 2, guidanceScale: 3, eta: 1 },
    shown: 1,
  };
  const found = { key: keyOf(job), judge: "j", images: [{ prompt: "a", seed: 1, score: 0.5 }], pictures: [] };
  expect(readEvaluated(job)).toBeUndefined();
  writeFileSync(file, JSON.stringify(found));
  expect(readEvaluated(job)).toEqual(found);
  expect(readEvaluated({ ...job, shown: 2 })).toBeUndefined();
  writeFileSync(file, JSON.stringify({ ...found, images: [{ prompt: "a", seed: 1, score: "good" }] }));
  expect(() => readEvaluated(job)).toThrow(/evaluation\.json is damaged: images\.0\.score: expected number/);
  writeFileSync(file, "{");
  expect(() => readEvaluated(job)).toThrow(/evaluation\.json is damaged: .*JSON/);
  writeFileSync(join(folder, "snapshot.json"), '{"step": 1}');
  expect(() => readSnapshot(folder)).toThrow(/snapshot\.json is damaged: spent: missing/);
});
