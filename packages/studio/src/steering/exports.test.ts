import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { exportsOf, exportWords } from "./exports.js";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "spo-exports-"));
});
afterEach(() => rmSync(root, { recursive: true }));

/** A run whose result has such a file. */
function runWith(file: string) {
  const folder = join(root, "a", "first");
  mkdirSync(join(folder, "model"), { recursive: true });
  writeFileSync(join(folder, "model", file), "");
  return { id: "1", name: "a/first", folder };
}

test("a LoRA can be written in each layout, and merged into the base that the run's config names from its folder", () => {
  const run = runWith("pytorch_lora_weights.safetensors");
  mkdirSync(join(root, "base"));
  expect(exportsOf(run)).toEqual(["kohya", "diffusers", "peft", "merged"]);
  expect(exportWords(root, run, "../../base", "kohya")).toEqual({
    ...{ kind: "convert", device: "disk", run: "a/first-kohya.safetensors" },
    words: [join(run.folder, "model"), "--to", "kohya"],
  });
  const lora = join(run.folder, "model", "pytorch_lora_weights.safetensors");
  const merged = (model: string) => exportWords(root, run, model, "merged").words;
  expect(merged("../../base")).toEqual([join(root, "base"), "--lora", lora, "--to", "single-file"]);
  expect(merged("org/name")[0]).toBe("org/name");
  expect(merged("--output=x")[0]).toBe(join(run.folder, "--output=x"));
});

test("a whole model becomes one file and no LoRA; a preference model and a run without a result become nothing", () => {
  const run = runWith("model_index.json");
  expect(exportsOf(run)).toEqual(["single-file"]);
  expect(() => exportWords(root, run, "m", "kohya")).toThrow(/a\/first cannot be written as kohya/);
  expect(exportsOf({ ...run, folder: join(root, "none") })).toEqual([]);
});
