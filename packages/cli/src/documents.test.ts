// The commands that documents and help show are read by the real command line: every option, setting and argument there is.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SAMPLERS } from "@spo/diffusion";
import { parseOverrides } from "@spo/records/config";
import type { Command, Option } from "commander";
import { describe, expect, test } from "vitest";
import { settingsWordsOf } from "./options/settings-words.js";
import { buildProgram } from "./program.js";

const root = fileURLToPath(new URL("../../..", import.meta.url));

/** The words of a shell's command, quotes taken off; ends at a comment, a pipe or a redirection. */
function shellWords(line: string): string[] {
  const words: string[] = [];
  for (const [word] of line.matchAll(/"[^"]*"|'[^']*'|[#|>;][^\n]*|(?:[^\s"'|>;]|(?<=\S)#)+/g)) {
    if (/^[#|>;]/.test(word)) break;
    words.push(word.replace(/^(["'])(.*)\1$/, "$2"));
  }
  return words;
}

/** Each command line of a text of shell lines, in one line. */
const commandLines = (text: string): string[] =>
  text
    .replace(/\\\n\s*/g, " ")
    .replaceAll(/npm run quickstart(?: --(?= ))?/g, "npx spo quickstart")
    .split("\n");

/** The calls of `spo` in a text of shell lines. */
const callsIn = (text: string): string[][] =>
  commandLines(text)
    .flatMap((line) => /(?:^|\|)\s*npx (spo [a-z]+(?: .*)?)$/.exec(line)?.[1] ?? [])
    .map((line) => shellWords(line).slice(1));

/** Lines that call `spo` by a name that a shell in a clone does not know, or by `npm run`, which writes to stdout itself. */
const unpasteable = (text: string): string[] =>
  commandLines(text).filter((line) => /(?:^|[|;&])\s*(?:spo [a-z]|npm run spo\b)/.test(line));

/** Reads a call as the command line would, and does nothing. */
async function read(words: readonly string[]): Promise<void> {
  const program = await buildProgram(words);
  let command: Command = program;
  for (const word of words) command = command.commands.find((each) => each.name() === word) ?? command;
  let rest: string[] = [];
  command.action(() => {
    rest = command.args;
  });
  await program.parseAsync(words, { from: "user" });
  const settings = settingsWordsOf(command);
  if (settings) parseOverrides(settings.schema, rest);
}

async function faultsOf(calls: readonly (readonly string[])[]): Promise<string[]> {
  const faults: string[] = [];
  for (const words of calls) {
    await read(words).catch((error: Error) => faults.push(`spo ${words.join(" ")}: ${error.message}`));
  }
  return faults;
}

/** Markdown of the root and of `docs`, and the README of each package and example. */
const documents = [
  ...readdirSync(root),
  ...readdirSync(join(root, "docs")).map((name) => `docs/${name}`),
  ...["packages", "examples"].flatMap((folder) =>
    readdirSync(join(root, folder)).map((name) => `${folder}/${name}/README.md`),
  ),
].filter((path) => path.endsWith(".md") && existsSync(join(root, path)));

describe("every call of spo", () => {
  test.each(documents)("in %s is one that the command line takes", async (path) => {
    const blocks = [...readFileSync(join(root, path), "utf8").matchAll(/^```(?:sh|)\n([\s\S]*?)^```/gm)];
    expect(await faultsOf(blocks.flatMap(([, block]) => callsIn(block as string)))).toEqual([]);
    expect(blocks.flatMap(([, block]) => unpasteable(block as string))).toEqual([]);
  });

  test("in a help is one that the command line takes", async () => {
    const names = (await buildProgram([])).commands.map((command) => command.name());
    const texts: string[] = [];
    const collect = (command: Command): void => {
      command.configureOutput({ writeOut: (text) => texts.push(text) }).outputHelp();
      for (const inner of command.commands) collect(inner);
    };
    for (const name of names)
      collect((await buildProgram([name])).commands.find((each) => each.name() === name) as Command);
    const calls = callsIn(texts.join("\n"));
    expect(calls.length).toBeGreaterThan(40); // each command has at least one
    expect(await faultsOf(calls)).toEqual([]);
    expect(unpasteable(texts.join("\n"))).toEqual([]);
  });

  test("that no shell knows is found", () => {
    const lines = ["spo doctor", "echo x | spo sample", "npm run spo -- doctor", "npx spo \\", "  doctor"];
    expect(unpasteable(lines.join("\n"))).toEqual(lines.slice(0, 3));
  });

  test("that is wrong is found", async () => {
    const wrong = callsIn(
      [
        'npx spo sample "a # b" --model ./sd15 --sede 3 # a comment',
        "npx spo train spo sd15 --thresold 0.3 --run runs/x",
        "npx spo sample one --model a --sampler heun",
        "echo x | npx spo convert a",
        'npx spo sample "a # b" --model ./sd15 > out.txt',
      ].join("\n"),
    );
    expect(wrong).toHaveLength(5);
    expect(await faultsOf(wrong)).toEqual([
      expect.stringContaining("--sede"),
      expect.stringContaining("did you mean --threshold?"),
      expect.stringContaining('The sampler "heun"'),
      expect.stringContaining("--output"),
    ]);
  });
});

test.each(["README.md", "docs/sample.md", "packages/diffusion/README.md"])(
  "%s names every sampler that the command takes",
  async (path) => {
    const text = readFileSync(join(root, path), "utf8");
    for (const name of ["sample", "eval"]) {
      const command = (await buildProgram([name])).commands.find((each) => each.name() === name) as Command;
      const { argChoices } = command.options.find(({ long }) => long === "--sampler") as Option;
      expect(argChoices).toEqual(expect.arrayContaining(Object.keys(SAMPLERS)));
      for (const sampler of argChoices ?? []) expect(text, sampler).toContain(`\`${sampler}\``);
    }
  },
);

test("every message that the page on troubleshooting is about is one that the code has", () => {
  const code = ["packages", "native"]
    .flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: "utf8" }).map((path) =>
        join(folder, path),
      ),
    )
    .filter((path) => /^(packages.\w+.src|native.lib).*(?<!\.test)\.[jt]s$/.test(path))
    .map((path) => readFileSync(join(root, path), "utf8"))
    .join("\n");
  const page = readFileSync(join(root, "docs/troubleshooting.md"), "utf8");
  const messages = [...page.matchAll(/^### (.*`.*)$/gm)].flatMap(([, heading]) =>
    [...(heading as string).matchAll(/`([^`]+)`/g)].flatMap(([, message]) => (message as string).split("…")),
  );
  expect(messages.length).toBeGreaterThan(15);
  expect(messages.filter((message) => !code.includes(message.trim()))).toEqual([]);
});
