import type { z } from "zod";
import { grouped } from "./groups.js";
import { type Setting, settingsOf } from "./settings.js";
import { kebabCase, withOptionNames } from "./spelling.js";

/**
 * The settings of a schema as lines of help: flag, what it is, its default. given: what the command itself fills in, by path, in words.
 * groups: under headings, by what they are about.
 */
export function settingsHelp(
  schema: z.ZodType,
  {
    width = 80,
    given = {},
    groups = false,
  }: { width?: number; given?: Readonly<Record<string, string>>; groups?: boolean } = {},
): string {
  const known = settingsOf(schema);
  const names = known.map(({ path }) => path);
  const settings = known.map(({ description, ...setting }) => ({
    ...setting,
    description: description && withOptionNames(description, names),
  }));
  const column = Math.min(40, Math.max(0, ...settings.map((setting) => flagOf(setting).length)) + 4);
  if (!groups) return rowsOf(settings, { width, given, column });
  return grouped(settings)
    .map(({ heading, settings }) => `  ${heading}\n${rowsOf(settings, { width, given, column })}`)
    .join("\n\n");
}

const flagOf = ({ path, type }: Setting): string => `--${kebabCase(path)} <${type}>`;

function rowsOf(
  settings: readonly Setting[],
  { width, given, column }: { width: number; given: Readonly<Record<string, string>>; column: number },
): string {
  return settings
    .map((setting) => {
      const { path, description, required, default: fallback } = setting;
      const value = given[path] ?? (required ? "required" : fallback === undefined ? "" : shown(fallback));
      return { flag: flagOf(setting), text: [description, value && `(${value})`].filter(Boolean).join(" ") };
    })
    .flatMap(({ flag, text }) => {
      const lines = wrap(text, Math.max(24, width - column));
      const first = `  ${flag}`;
      const indented = lines.map((line) => `${" ".repeat(column)}${line}`);
      if (first.length + 2 > column) return [first, ...indented];
      return [`${first.padEnd(column)}${lines[0] ?? ""}`, ...indented.slice(1)];
    })
    .map((line) => line.trimEnd())
    .join("\n");
}

/** A default as help shows it: 6e-5 is easier to read than 0.00006. */
const shown = (value: unknown): string =>
  typeof value === "number" && value !== 0 && Math.abs(value) < 1e-3
    ? value.toExponential()
    : JSON.stringify(value);

function wrap(text: string, width: number): string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    const last = lines.at(-1) as string;
    if (last && last.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = last ? `${last} ${word}` : word;
  }
  return lines;
}
