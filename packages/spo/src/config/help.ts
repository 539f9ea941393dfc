import type { z } from "zod";
import { settingsOf } from "./settings.js";

/** The settings of a schema as lines of help: flag, what it is, its default. */
export function settingsHelp(schema: z.ZodType, { width = 80 } = {}): string {
  const rows = settingsOf(schema).map(({ path, type, description, required, default: fallback }) => {
    const note = required ? "(required)" : fallback === undefined ? "" : `(${shown(fallback)})`;
    return { flag: `--${path} <${type}>`, text: [description, note].filter(Boolean).join(" ") };
  });
  const column = Math.min(40, Math.max(0, ...rows.map(({ flag }) => flag.length)) + 4);
  return rows
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

/** 0.00006 is read with a finger on the screen. */
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
