import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { readPrompts } from "./prompts.js";

const folder = mkdtempSync(join(tmpdir(), "spo-prompts-"));
afterAll(() => rmSync(folder, { recursive: true }));
const reported = fileURLToPath(
  new URL("../../../../shared/cases/prompt-file-comments/pr.txt", import.meta.url),
);
const file = (text: string, name = "prompts.txt"): string => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};

test("comments, blank lines, a byte order mark and any line ends are no prompts", () => {
  expect(readPrompts(file("\ufeff# mine\r\nred apple\r\n\r\n  # and\n blue fish \r a # b"))).toEqual([
    "red apple",
    "blue fish",
    "a # b",
  ]);
  expect(() => readPrompts(file("# nothing\n\n"))).toThrow(/there is no prompt/);
});

test("settings of a prompt are left out and told of, or refused; words that look like them stay", () => {
  const path = file("a cat --w 512 --d 7\na dog\nan owl --n blurry\na hill --v 5 --ar 3:2\n");
  const said: string[] = [];
  expect(readPrompts(path, { onWarning: (text) => said.push(text) })).toEqual([
    "a cat",
    "a dog",
    "an owl",
    "a hill --v 5 --ar 3:2",
  ]);
  expect(said).toEqual([
    `${path}: 2 lines have settings of their own, first --w 512 --d 7 in line 1: they are left out, as they are for spo sample --prompts alone`,
  ]);
  expect(() => readPrompts(path)).toThrow(/2 lines have settings of their own/);
  expect(() => readPrompts(file("--n nothing\n"), { onWarning: () => {} })).toThrow(/line 1: .* no prompt/);
});

const there = existsSync(reported);
test.skipIf(!there)("the reported file is one prompt (skipped where ../shared/cases is not there)", () => {
  expect(readPrompts(reported)).toEqual(["red apple"]);
});

test.each([
  ["lines.txt", "a cat\n\n  a dog  \r\n"],
  ["texts.json", '["a cat", "", " a dog "]'],
  ["captions.json", '[{ "caption": "a cat", "trainset_idx": 1 }, { "caption": "a dog", "trainset_idx": 2 }]'],
  ["prompts.JSON", '[{ "prompt": "a cat" }, { "prompt": "a dog" }]'],
])("%s holds two prompts", (name, text) => {
  expect(readPrompts(file(text, name))).toEqual(["a cat", "a dog"]);
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
  expect(() => readPrompts(file(text, "prompts.json"))).toThrow(message);
});
