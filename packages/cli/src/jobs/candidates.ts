// Candidates for the next word of the command line, for completion in shells. They come from what commands declare: no tensor code, no
// engine.

import { type Setting, settingsOf } from "@spo/records/config";
import { isSpelled, kebabCase } from "@spo/records/spelling";
import { REWARDS } from "@spo/scorers/reward-spec";
import type { Argument, Command, Option } from "commander";
import { settingsWordsOf } from "../options/settings-words.js";

/** A word, and what it is. */
export interface Candidate {
  word: string;
  about: string;
}

/** Candidates for one place. */
export interface Candidates {
  words: Candidate[];
  /** Files or folders of this machine may stand there too. */
  files?: "files" | "folders";
}

/** An option or a setting. */
interface Named {
  /** Without dashes. */
  name: string;
  short?: string;
  about: string;
  takesValue: boolean;
  values: () => Candidates;
}

const NOTHING: Candidates = { words: [] };
const wordsOf = (words: readonly string[], about = ""): Candidate[] => words.map((word) => ({ word, about }));

/**
 * Candidates for the last of `words`, which is begun or empty, after the others.
 *
 * program: with the options of the command that the words call declared.
 */
export function candidatesFor(program: Command, words: readonly string[]): Candidates {
  const current = words.at(-1) ?? "";
  let command = program;
  let options = optionsOf(command);
  let operands = 0;
  let expecting: Named | undefined;
  let onlyOperands = false;
  for (const word of words.slice(0, -1)) {
    if (expecting) expecting = undefined;
    else if (onlyOperands || !word.startsWith("-")) {
      const inner = command.commands.find((each) => each.name() === word);
      if (inner) [command, options] = [inner, optionsOf(inner)];
      else operands++;
    } else if (word === "--") onlyOperands = true;
    else if (!word.includes("=")) {
      const option = find(options, word);
      if (option?.takesValue) expecting = option;
    }
  }
  const all = ((): Candidates => {
    if (expecting) return expecting.values();
    const [, written = "", start] = /^(--[^=]+=)(.*)$/s.exec(current) ?? [];
    if (!onlyOperands && start !== undefined) return behind(written, find(options, written.slice(0, -1)));
    if (!onlyOperands && current.startsWith("-")) return { words: shownOptions(options, current) };
    const inner = command.createHelp().visibleCommands(command);
    if (inner.length > 0)
      return { words: inner.map((each) => ({ word: each.name(), about: aboutOf(each) })) };
    return operandsOf(command, operands);
  })();
  return { ...all, words: all.words.filter(({ word }) => word.startsWith(current)) };
}

const find = (options: readonly Named[], word: string): Named | undefined =>
  options.find(
    ({ name, short }) => word === short || (word.startsWith("--") && isSpelled(word.slice(2), name)),
  );

/** The values of an option in `--option=value`. */
function behind(written: string, option: Named | undefined): Candidates {
  const { words, files } = option?.values() ?? NOTHING;
  return { words: words.map(({ word, about }) => ({ word: written + word, about })), files };
}

/** `--no-…` of settings only where it is begun: it would double the list. */
function shownOptions(options: readonly Named[], current: string): Candidate[] {
  const shown = options.map(({ name, about }) => ({ word: `--${name}`, about }));
  if (!current.startsWith("--no")) return shown;
  const negated = options.filter(({ takesValue, name }) => !takesValue && !name.startsWith("no-"));
  return [...shown, ...negated.map(({ name, about }) => ({ word: `--no-${name}`, about: `not: ${about}` }))];
}

/** The summary is the shorter one. */
const aboutOf = (command: Command): string => command.summary() || command.description();

/** The options of a command, of those above it, and its settings. */
function optionsOf(command: Command): Named[] {
  const found: Named[] = [];
  for (let at: Command | null = command; at; at = at.parent)
    for (const option of at.options) if (!option.hidden) found.push(namedOption(option));
  const schema = settingsWordsOf(command)?.schema;
  const settings = schema ? settingsOf(schema).map(namedSetting) : [];
  return [
    ...settings,
    ...found,
    { name: "help", about: "display help", takesValue: false, values: () => NOTHING },
  ];
}

function namedOption({ long, short, flags, description, required, argChoices }: Option): Named {
  const name = long?.slice(2) ?? "";
  const values = (): Candidates => {
    if (argChoices) return { words: wordsOf(argChoices) };
    const [, value = ""] = /<([^>]+)>/.exec(flags) ?? [];
    return valuesOf(name, value);
  };
  return { name, short, about: description, takesValue: required, values };
}

function namedSetting({ path, description = "", kind, choices, place }: Setting): Named {
  const values = (): Candidates => {
    if (choices) return { words: wordsOf(choices) };
    return valuesOf(path, place === "scorer" ? "scorer" : place !== undefined ? "file" : "");
  };
  return { name: kebabCase(path), about: description, takesValue: kind !== "boolean", values };
}

/** Values of options by their names. value: the name in help, as in `--lora <file[:weight]>`. */
function valuesOf(name: string, value: string): Candidates {
  if (name === "device") return { words: wordsOf(["cpu", "cuda"]) };
  if (name === "metrics" || value === "scorer")
    return { words: wordsOf(REWARDS.map((reward) => `${reward}:`)), files: "files" };
  if (/^folder/.test(value)) return { words: [], files: "folders" };
  return /^(file|path|model)/.test(value) ? { words: [], files: "files" } : NOTHING;
}

/** Candidates for a command's argument. before: how many there are already. */
function operandsOf(command: Command, before: number): Candidates {
  const settings = settingsWordsOf(command);
  if (settings) return { words: wordsOf(settings.presets, "preset"), files: "files" };
  const all: readonly Argument[] = command.registeredArguments;
  const argument = all[before] ?? (all.at(-1)?.variadic ? all.at(-1) : undefined);
  if (!argument || argument.name() === "prompts") return NOTHING;
  if (argument.argChoices) return { words: wordsOf(argument.argChoices) };
  return { words: [], files: argument.name() === "folder" ? "folders" : "files" };
}
