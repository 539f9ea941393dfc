// What a terminal would act on is shown, whatever file or word it comes from.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cli } from "./cli.js";

/** Sets the title, clears the screen, in one byte of C1 too, turns the direction, overwrites the line. */
const HOSTILE = "a\x1b]0;owned\x07b\x1b[2Jc\x9b2Jd\u202ee\rf";
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there
const ACTED_ON = /[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]/;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "spo-hostile-"));
  const pair = (caption: string, split: string): string =>
    JSON.stringify({ caption, image_0: `${HOSTILE}.png`, image_1: "b.png", label_0: 1, split });
  writeFileSync(join(folder, "pairs.jsonl"), `${pair(HOSTILE, "train")}\n${pair(HOSTILE, HOSTILE)}\n`);
  writeFileSync(join(folder, "config.json"), JSON.stringify({ [HOSTILE]: HOSTILE }));
  writeFileSync(join(folder, "prompts.txt"), `${HOSTILE} --w ${HOSTILE}\n`);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test.each([
  ["captions, file names and splits of pairs", ["data", "check", "pairs.jsonl"]],
  ["a setting's name and value", ["train", "spo", "config.json", "--run", "r"]],
  ["a word of the command line", ["train", "spo", `--${HOSTILE.slice(1)}`, "--run", HOSTILE]],
  ["a path", ["sample", HOSTILE, "--prompt", "x", "--output", "o"]],
  ["a prompt file", ["sample", "nowhere", "--prompts", "prompts.txt", "--output", "o"]],
  ["a run's folder", ["report", HOSTILE]],
])("%s", async (_, args) => {
  const { code, stdout, stderr } = await cli(args, { cwd: folder });
  expect(code).toBeGreaterThan(0);
  expect(stdout + stderr).not.toMatch(ACTED_ON);
  const json = await cli([...args, "--json"], { cwd: folder });
  expect(json.stdout + json.stderr).not.toMatch(ACTED_ON);
  for (const line of json.stdout.trimEnd().split("\n")) JSON.parse(line);
});
