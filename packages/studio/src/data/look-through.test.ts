import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { PIXEL } from "../run-folders.fixture.js";
import { lookThrough } from "./look-through.js";

test("each pair is told its label and what is wrong with it: broken, twice, one picture on both sides, in two splits", async () => {
  const folder = mkdtempSync(join(tmpdir(), "spo-look-"));
  for (const name of ["a", "b", "c", "d"])
    writeFileSync(join(folder, `${name}.png`), Buffer.concat([PIXEL, Buffer.from(name)]));
  writeFileSync(join(folder, "text.png"), "no picture");
  const pair = (prompt: string, images: string, more: object = {}): string =>
    JSON.stringify({ prompt, image_0: `${images[0]}.png`, image_1: `${images[1]}.png`, ...more });
  const lines = [
    pair("cat", "ab", { label_0: 1, label_1: 0, split: "train" }),
    pair("cat", "ba", { label_0: 0, label_1: 1, split: "train" }),
    pair("dog", "cc", { label_0: 0.5, label_1: 0.5, split: "train" }),
    pair("fox", "dx", { has_label: false, label_0: 1, label_1: 0 }),
    JSON.stringify({ prompt: "owl", image_0: "text.png", image_1: "../secret.png" }),
    "{",
    pair("bee", "ad", { split: "test" }),
  ];
  writeFileSync(join(folder, "pairs.jsonl"), `${lines.join("\n")}\n`);
  const { facts, pairs } = await lookThrough(folder);
  expect(pairs.map(({ label, flags }) => [label, flags])).toEqual([
    ["first", ["leak"]],
    ["second", ["duplicate", "leak"]],
    ["tie", ["same picture"]],
    ["none", ["broken"]],
    ["none", ["broken"]],
    ["none", ["leak"]],
  ]);
  expect(facts).toEqual({
    ...{ pairs: 6, prompts: 5, splits: { train: 3, test: 1 }, first: 1, second: 1, ties: 1, unlabelled: 3 },
    faults: 1,
  });
  rmSync(folder, { recursive: true });
});
