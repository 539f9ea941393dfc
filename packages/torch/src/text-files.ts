// Text and JSON that a user wrote: what is wrong with it, and in which line. No tensor code.
import { readFileSync, statSync } from "node:fs";
import { UserError, type UserErrorCode } from "./errors.js";

/**
 * A file's text, which must be UTF-8; a byte order mark at its start is left out. kind: what it should be, for the message.
 *
 * Throws a UserError (`DATA`) when it is absent, a folder, a device or a pipe, or no such text. Pipes that a shell hands over are read.
 */
export function readText(path: string, kind = "text file"): string {
  let bytes: Uint8Array;
  try {
    const found = statSync(path);
    if (!found.isFile() && !found.isDirectory() && !HANDED_OVER.test(path))
      throw new UserError(`${path} is a device or a pipe, not a ${kind}.`, { code: "DATA" });
    bytes = readFileSync(path);
  } catch (error) {
    if (error instanceof UserError) throw error;
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

/** The process's own input, and what a shell passes for `<(…)`. These end; another device or pipe need not. */
const HANDED_OVER = /^\/(dev\/(stdin|fd\/\d+)|proc\/self\/fd\/\d+)$/;

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

/** How a JSON file is read. */
export interface JsonOptions {
  /** Of the UserError. Default `DATA`. */
  code?: UserErrorCode;
  /** For a dialect of JSON. */
  parse?: (text: string) => unknown;
  /** A larger file is refused unread, and one that is no ordinary file. Default: any size. */
  maxBytes?: number;
}

/** Bytes of a config: published ones have a few kB, one that lists a β for each of 10,000 timesteps 220. */
export const MAX_CONFIG_BYTES = 2 ** 20;

/** Bytes of a tokenizer's file or an index of shards. The largest that are published, vocabularies with their merges, have 17 MB. */
export const MAX_TABLE_BYTES = 64 * 2 ** 20;

/**
 * A JSON file's value. Throws a UserError that says what is wrong and where: `DATA` unless `code` says otherwise. Text that is nested
 * deeper than people write it is refused before it is parsed.
 */
export function readJson(
  path: string,
  { code = "DATA", parse = JSON.parse, maxBytes }: JsonOptions = {},
): unknown {
  if (maxBytes !== undefined) requireSmall(path, maxBytes, code);
  return parseJsonText(readText(path, "JSON file"), path, { code, parse });
}

/** As `readJson`, of what must be an object. Throws a UserError that names what is there in its place. */
export function readJsonObject(path: string, options: JsonOptions = {}): Record<string, unknown> {
  return requireObject(readJson(path, options), path, options.code);
}

/** As `readJson`, of a text that is there. name: for the message. */
export function parseJsonText(
  text: string,
  name: string,
  { code = "DATA", parse = JSON.parse }: Omit<JsonOptions, "maxBytes"> = {},
): unknown {
  const deep = tooDeep(text);
  if (deep !== undefined) {
    const { line, column } = placeIn(text, deep);
    throw new UserError(
      `${name} is nested more than ${MAX_DEPTH} levels deep, at line ${line}, column ${column}.`,
      { code, hint: "It is damaged, or was made to do harm." },
    );
  }
  try {
    return parse(text);
  } catch (error) {
    throw new UserError(`${name} is not JSON: ${jsonFault(text, error)}.`, { code, cause: error });
  }
}

/** `JSON.parse` of a text that others wrote. Throws a SyntaxError also where it is nested deeper than people write it. */
export function parseBoundedJson(text: string): unknown {
  if (tooDeep(text) !== undefined) throw new SyntaxError(`It is nested more than ${MAX_DEPTH} levels deep`);
  return JSON.parse(text);
}

/** A value of JSON that must be an object. name: of the file. Throws a UserError that names what is there in its place. */
export function requireObject(
  value: unknown,
  name: string,
  code: UserErrorCode = "DATA",
): Record<string, unknown> {
  if (isObject(value)) return value;
  throw new UserError(`${name} holds ${kindOf(value)} where an object ({"name": value, …}) is expected.`, {
    code,
  });
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** What a value of JSON is, in words. */
function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  if (value === undefined) return "nothing";
  const shown = JSON.stringify(value);
  return `${typeof value === "string" ? "the text" : typeof value === "number" ? "the number" : "the value"} ${shown.length > 40 ? `${shown.slice(0, 40)}…` : shown}`;
}

function requireSmall(path: string, maxBytes: number, code: UserErrorCode): void {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) return; // reading it says so
  if (!stat.isFile() && !stat.isDirectory()) throw new UserError(`${path} is no ordinary file.`, { code });
  if (stat.size > maxBytes)
    throw new UserError(
      `${path} has ${(stat.size / 1e6).toFixed(0)} MB; the most that such a file may have is ${(maxBytes / 1e6).toFixed(0)} MB.`,
      { code, hint: "It is damaged, or is another file than it is named for." },
    );
}

/** Levels of lists and objects in one another. */
const MAX_DEPTH = 100;

/** Where a text of JSON is nested too deeply; undefined where it is not. Parsing millions of levels takes gigabytes. */
function tooDeep(text: string): number | undefined {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x7b: // {
      case 0x5b: // [
        if (++depth > MAX_DEPTH) return at;
        break;
      case 0x7d: // }
      case 0x5d: // ]
        depth--;
        break;
      case 0x22: // a string, to its closing quote
        for (at++; at < text.length && text.charCodeAt(at) !== 0x22; at++)
          if (text.charCodeAt(at) === 0x5c) at++;
    }
  }
  return undefined;
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

/** Where the engine gives no position: the end of the longest beginning that is wrong only because it is cut off. */
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
