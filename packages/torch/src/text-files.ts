// Text and JSON that a user wrote: what is wrong with it, and in which line. No tensor code.
import { readFileSync } from "node:fs";
import { UserError, type UserErrorCode } from "./files.js";

/**
 * A file's text, which must be UTF-8; a byte order mark at its start is left out. kind: what it should be, for the message.
 *
 * Throws a UserError (`DATA`) when it is absent, a folder, or no such text.
 */
export function readText(path: string, kind = "text file"): string {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why =
      code === "ENOENT"
        ? `The ${kind} ${path} does not exist.`
        : code === "EISDIR"
          ? `${path} is a folder, not a ${kind}.`
          : `${path} cannot be read: ${message}.`;
    throw new UserError(why, { code: "DATA", cause: error });
  }
  return decodeText(bytes, path);
}

/** As `readText`, of bytes that came from elsewhere. name: for the message. */
export function decodeText(bytes: Uint8Array, name: string): string {
  const fault = (what: string): UserError =>
    new UserError(`${name} is no UTF-8 text: ${what}.`, { code: "DATA", hint: "Save it as UTF-8." });
  if ((bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff))
    throw fault("it begins as UTF-16 does");
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes); // takes off the byte order mark
  } catch {
    throw fault(`there are other bytes in line ${lineOfFault(bytes)}`);
  }
  const zero = text.indexOf("\0");
  if (zero >= 0) throw fault(`there is a zero byte in line ${placeIn(text, zero).line}`);
  return text;
}

/** The first line that does not decode, from 1. No sequence of UTF-8 holds the byte of a line end, so each line stands alone. */
function lineOfFault(bytes: Uint8Array): number {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  for (let line = 1, start = 0; ; line++) {
    const end = bytes.indexOf(10, start);
    try {
      decoder.decode(bytes.subarray(start, end < 0 ? undefined : end));
    } catch {
      return line;
    }
    if (end < 0) return line;
    start = end + 1;
  }
}

/** Lines of a text without their ends, whichever system's those are. */
export const linesOf = (text: string): string[] => text.split(/\r\n?|\n/);

/** A JSON file's value. Throws a UserError that says what is wrong and where: `DATA` unless `code` says otherwise. */
export function readJson(
  path: string,
  {
    code = "DATA",
    parse = JSON.parse,
  }: {
    code?: UserErrorCode;
    /** For a dialect of JSON. */
    parse?: (text: string) => unknown;
  } = {},
): unknown {
  const text = readText(path, "JSON file");
  try {
    return parse(text);
  } catch (error) {
    throw new UserError(`${path} is not JSON: ${jsonFault(text, error)}.`, { code, cause: error });
  }
}

/**
 * What is wrong with a text that `JSON.parse` refused, and where: `line 2, column 3: expected …`.
 *
 * error: what it threw.
 */
export function jsonFault(text: string, error: unknown): string {
  if (text.trim() === "") return "it is empty";
  const message = (error as Error).message;
  const at = positionOf(message) ?? firstFault(text);
  const { line, column } = placeIn(text, at);
  const rest = text.slice(at);
  const why = /^(\/[/*]|#)/.test(rest)
    ? "JSON has no comments"
    : /^[}\]]/.test(rest) && /,\s*$/.test(text.slice(0, at))
      ? "JSON has no comma after the last entry"
      : rest.trim() === ""
        ? "it ends too soon"
        : plain(message, rest);
  return `line ${line}, column ${column}: ${why}`;
}

/** The engine's words without its place and snippet. */
function plain(message: string, rest: string): string {
  const words = message.replace(/( in JSON)? at position.*$/s, "");
  if (/^Unexpected token/.test(words)) return `unexpected ${JSON.stringify(/^\w+|^./su.exec(rest)?.[0])}`;
  return words.charAt(0).toLowerCase() + words.slice(1);
}

function positionOf(message: string): number | undefined {
  const found = /at position (\d+)/.exec(message)?.[1];
  return found === undefined ? undefined : Number(found);
}

/** Where the engine does not say the place: the end of the longest beginning that is at fault only by being one. */
function firstFault(text: string): number {
  const isBeginning = (length: number): boolean => {
    try {
      JSON.parse(text.slice(0, length));
      return true;
    } catch (error) {
      const { message } = error as Error;
      return /end of JSON input|Unterminated/i.test(message) || positionOf(message) === length;
    }
  };
  let [good, bad] = [0, text.length + 1];
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (isBeginning(middle)) good = middle;
    else bad = middle;
  }
  return good;
}

/** Line and column of a character, both from 1. */
function placeIn(text: string, at: number): { line: number; column: number } {
  const before = text.slice(0, at);
  const start = before.lastIndexOf("\n") + 1;
  return { line: before.split("\n").length, column: at - start + 1 };
}
