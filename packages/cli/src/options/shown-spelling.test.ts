import { parseOverrides, settingsOf } from "@spo/records/config";
import { kebabCase } from "@spo/records/spelling";
import { Command } from "commander";
import { expect, test } from "vitest";
import type { z } from "zod";
import { buildProgram } from "../program.js";
import { settingsWordsOf } from "./settings-words.js";
import { inShownSpelling } from "./shown-spelling.js";

const command = new Command("draw")
  .option("-o, --output <folder>", "")
  .option("--prompt-syntax <kind>", "")
  .option("--guidance-scale <number>", "")
  .option("--skip-broken", "");

test.each([
  ["--promptSyntax plain", "--prompt-syntax plain"],
  ["--prompt_syntax=a_b", "--prompt-syntax=a_b"],
  ["--skip_broken --skipBroken", "--skip-broken --skip-broken"],
  ["--guidance 3 --out x -o y", "--guidance-scale 3 --output x -o y"],
  ["--output --skip_broken", "--output --skip_broken"], // a folder of that name
  ["-o --skip_broken", "-o --skip_broken"],
  ["x --prompt y --SkipBroken", "x --prompt y --SkipBroken"],
  ["--skipBroken -- --skipBroken", "--skip-broken -- --skipBroken"],
  ["--", "--"],
])("%s is %s", (words, shown) => {
  expect(inShownSpelling(words.split(" "), command).join(" ")).toBe(shown);
});

/** Each command of the program with its path. */
async function commands(): Promise<[path: string, command: Command][]> {
  const found: [string, Command][] = [];
  for (const { name } of (await buildProgram([])).commands.map((each) => ({ name: each.name() }))) {
    const collect = (command: Command, path: string): void => {
      found.push([path, command]);
      for (const inner of command.commands) collect(inner, `${path} ${inner.name()}`);
    };
    const called = (await buildProgram([name])).commands.find((each) => each.name() === name) as Command;
    collect(called, name);
  }
  return found;
}

test("every option of every command is shown with dashes, and understood in camelCase and snake_case", async () => {
  let options = 0;
  for (const [path, command] of await commands())
    for (const { long, required } of [...command.options, ...(command.parent?.options ?? [])]) {
      if (!long) continue;
      const name = long.slice(2);
      expect(name, path).toBe(kebabCase(name));
      const camel = name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
      for (const spelled of [name, camel, name.replaceAll("-", "_")]) {
        const words = [`--${spelled}`, ...(required ? ["--a_b"] : [])];
        expect(inShownSpelling(words, command), path).toEqual([long, ...words.slice(1)]);
      }
      options++;
    }
  expect(options).toBeGreaterThan(150);
});

test("every setting of every command is understood in each spelling", async () => {
  let settings = 0;
  for (const [path, command] of await commands()) {
    const { schema } = settingsWordsOf(command) ?? {};
    for (const setting of schema ? settingsOf(schema) : []) {
      const spellings = [setting.path, kebabCase(setting.path), kebabCase(setting.path).replaceAll("-", "_")];
      for (const spelled of spellings)
        expect(parseOverrides(schema as z.ZodType, [`--${spelled}`, "1"]).paths, path).toEqual([
          setting.path,
        ]);
      settings++;
    }
  }
  expect(settings).toBeGreaterThan(200);
});

test("commands call the same thing by the same name", async () => {
  const former = ["guidance", "out", "from"]; // what is understood, and shown no more
  for (const [path, command] of await commands())
    for (const { long } of command.options) {
      if (path.startsWith("train ") && long === "--from") continue; // what the weights begin as, as in all trainings
      expect(former, path).not.toContain(long?.slice(2));
    }
});
