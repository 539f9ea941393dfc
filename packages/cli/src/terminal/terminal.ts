// Words for people go to stderr, data to stdout. Text from outside is shown with its control characters written out: all output goes
// through here.
import { randomBytes } from "node:crypto";
import { visible, visibleJson } from "./visible.js";

/** Whether a stream may be coloured: NO_COLOR and FORCE_COLOR decide, else whether it is a terminal that can. */
export function hasColour(stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv = process.env): boolean {
  if (env.NO_COLOR) return false;
  if (env.FORCE_COLOR) return env.FORCE_COLOR !== "0";
  return stream.isTTY === true && env.TERM !== "dumb" && !env.CI;
}

/** Whether a line on a stream can be drawn again. */
export const redraws = (stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv = process.env): boolean =>
  stream.isTTY === true && env.TERM !== "dumb" && !env.CI;

const CODES = { green: 32, red: 31, yellow: 33, dim: 2, bold: 1 } as const;

// Until it is written, a colour is a mark. Marks are random, so that no text from outside can contain one.
const MARK = randomBytes(8).toString("hex");
const MARKS = new RegExp(`${MARK}\\[(\\d+)m`, "g");
const mark = (code: number): string => `${MARK}[${code}m`;

/** A text for the terminal: control characters are written out, and the colours of `painter` are real. */
export const shown = (text: string): string => visible(text).replace(MARKS, "\x1b[$1m");

/** Painters for one stream, of texts that `say`, `put` or `shown` write; without colour they give the text back. */
export function painter(
  stream: { isTTY?: boolean },
  env: NodeJS.ProcessEnv = process.env,
): (colour: keyof typeof CODES, text: string) => string {
  const on = hasColour(stream, env);
  return (colour, text) => (on ? `${mark(CODES[colour])}${text}${mark(0)}` : text);
}

/** A line of words. */
export const say = (text: string): void => void process.stderr.write(`${shown(text)}\n`);

/** Columns of a help: those of the terminal, as far as lines are still read easily. */
export const helpWidth = (): number => Math.min(120, process.stdout.columns ?? 80);

/** A line of a table, for people. */
export const put = (text: string): void => void process.stdout.write(`${shown(text)}\n`);
/** A path, for programs: on a terminal shown, elsewhere as it is. */
export const putPath = (path: string): void =>
  process.stdout.isTTY ? put(path) : void process.stdout.write(`${path}\n`);
/** space: of the indentation; 0: in one line. */
export const putJson = (value: unknown, space = 0): void =>
  void process.stdout.write(`${visibleJson(JSON.stringify(value, null, space))}\n`);
