// Files of a run are untrusted input: a run may be someone else's, copied from another machine or cut by a crash.
import { readFileSync, realpathSync, statSync } from "node:fs";
import { isAbsolute, relative, resolve, sep } from "node:path";
import { shortageOf, UserError } from "@spo/torch/files";
import type { z } from "zod";
import { schemaFaults } from "./schema-faults.js";

/** A longer file cannot be one text. */
const MOST_BYTES = 500_000_000;
/** Levels of arrays and objects in each other: ours have less than ten. */
const MOST_LEVELS = 100;

/**
 * Contents of an ordinary file. Throws a UserError (`DATA`) for one that is none, such as a device or a pipe, is too large, or cannot be
 * read.
 */
export function readOrdinary(path: string, mostBytes = MOST_BYTES): Buffer {
  const fault = (why: string, cause?: unknown): UserError =>
    new UserError(`${path} cannot be read: ${why}.`, { code: "DATA", cause });
  try {
    const found = statSync(path);
    if (!found.isFile()) throw fault("it is no ordinary file");
    if (found.size > mostBytes) throw fault(`it is larger than ${mostBytes / 1e6} MB`);
    return readFileSync(path);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw shortageOf(error) ?? fault((error as Error).message, error);
  }
}

/** The value of a JSON text, of the schema. Throws an Error that says in a line what is wrong. */
export function parseRecord<T>(text: string, schema: z.ZodType<T>): T {
  if (text.length > MOST_LEVELS && isDeep(text))
    throw new Error(`it is nested more than ${MOST_LEVELS} deep`);
  const { success, data, error } = schema.safeParse(JSON.parse(text));
  if (success) return data;
  throw new Error(schemaFaults(error));
}

/** As `parseRecord`, of a file. Throws a UserError (`DATA`) that names it. */
export function readRecord<T>(path: string, schema: z.ZodType<T>): T {
  const text = readOrdinary(path).toString("utf8");
  try {
    return parseRecord(text, schema);
  } catch (error) {
    throw new UserError(`${path} is damaged: ${(error as Error).message}.`, { code: "DATA", cause: error });
  }
}

/**
 * A file that a run's log names, if it is an ordinary file in the run's folder; files elsewhere are never shown, nor by a link that leads
 * there.
 */
export function fileOfRun(folder: string, file: string, mostBytes?: number): Uint8Array | undefined {
  if (!isInside(resolve(folder), resolve(folder, file))) return undefined;
  let path: string;
  try {
    path = realpathSync(resolve(folder, file));
    if (!isInside(realpathSync(folder), path) || !statSync(path).isFile()) return undefined;
  } catch {
    return undefined; // absent, a link in a circle, or a name that no file can have
  }
  return new Uint8Array(readOrdinary(path, mostBytes));
}

function isInside(folder: string, path: string): boolean {
  const inside = relative(folder, path);
  return inside !== "" && inside !== ".." && !inside.startsWith(`..${sep}`) && !isAbsolute(inside);
}

function isDeep(text: string): boolean {
  let [level, inText] = [0, false];
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (inText) {
      if (character === "\\") i++;
      else if (character === '"') inText = false;
    } else if (character === '"') inText = true;
    else if (character === "[" || character === "{") {
      if (++level > MOST_LEVELS) return true;
    } else if (character === "]" || character === "}") level--;
  }
  return false;
}
