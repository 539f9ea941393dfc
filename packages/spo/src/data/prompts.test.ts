import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { readPrompts } from "./prompts.js";

const folder = mkdtempSync(join(tmpdir(), "spo-prompts-"));
afterAll(() => rmSync(folder, { recursive: true }));
function file(name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
}

test.each([
  ["lines.txt", "a cat\n\n  a dog  \r\n"],
  ["texts.json", '["a cat", "", " a dog "]'],
  ["captions.json", '[{ "caption": "a cat", "trainset_idx": 1 }, { "caption": "a dog", "trainset_idx": 2 }]'],
  ["prompts.JSON", '[{ "prompt": "a cat" }, { "prompt": "a dog" }]'],
])("%s holds two prompts", (name, text) => {
  expect(readPrompts(file(name, text))).toEqual(["a cat", "a dog"]);
});

test.each([
  ["{}", "no list of prompts"],
  ['"a cat"', "no list of prompts"],
  ['["a cat", 3]', "entry 2 is no prompt"],
  ['["a cat", { "text": "a dog" }]', "entry 2 is no prompt"],
  ["[null]", "entry 1 is no prompt"],
  ["[]", "there is no prompt"],
  ["[", "prompts.json"],
])("%s is refused with its place", (text, message) => {
  expect(() => readPrompts(file("prompts.json", text))).toThrow(message);
});
