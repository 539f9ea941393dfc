// Records of JSON and JSONL files, one by one: a file is never in memory as a whole.
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { UserError } from "@spo/torch/files";
import { jsonFault } from "@spo/torch/text-files";

/** A record's bytes at most: a set has its images in files. */
const MOST_BYTES = 16 << 20;
/** Lists and objects in each other: a reader needs a few. */
const MOST_DEPTH = 64;
const CHUNK = 1 << 20;

/** A value of a file and where it begins. */
export interface JsonRecord {
  /** From 1. */
  line: number;
  /** From 0. */
  index: number;
  value?: unknown;
  /** Instead of a value. */
  fault?: string;
}

const [QUOTE, BACKSLASH, COMMA, NEWLINE, RETURN] = [0x22, 0x5c, 0x2c, 0x0a, 0x0d];
const OPENING = new Set([0x5b, 0x7b]);
const CLOSING = new Set([0x5d, 0x7d]);
const isBlank = (byte: number): boolean => byte === 0x20 || byte === 9 || byte === NEWLINE || byte === RETURN;

/**
 * The records of a file that is one JSON list, or has one record a line, whatever its ending says.
 *
 * Throws a UserError (`DATA`) for what is neither, for a list that does not end, and for a record of more than 16 MB.
 */
export function* jsonRecords(path: string): Generator<JsonRecord> {
  const file = openedFile(path);
  try {
    const scanner = new Scanner(path, bytesOf(file));
    const first = scanner.skipBlanks();
    if (first === 0x5b) yield* scanner.list();
    else yield* scanner.lines();
  } finally {
    closeSync(file);
  }
}

/** Throws a UserError (`DATA`) for what is no ordinary file, which opening might wait for without end, and for what cannot be opened. */
function openedFile(path: string): number {
  try {
    if (!statSync(path).isFile()) throw new UserError(`${path} is no file.`, { code: "DATA" });
    return openSync(path, "r");
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${path} cannot be read: ${(error as Error).message}.`, {
      code: "DATA",
      cause: error,
    });
  }
}

function* bytesOf(file: number): Generator<Uint8Array> {
  for (;;) {
    const chunk = new Uint8Array(CHUNK);
    const read = readSync(file, chunk, 0, CHUNK, null);
    if (read === 0) return;
    yield chunk.subarray(0, read);
  }
}

/** Reads a stream of bytes value by value. */
class Scanner {
  readonly #path: string;
  readonly #chunks: Iterator<Uint8Array>;
  #chunk: Uint8Array = new Uint8Array(0);
  #at = 0;
  #line = 1;
  #index = 0;
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });

  constructor(path: string, chunks: Iterator<Uint8Array>) {
    this.#path = path;
    this.#chunks = chunks;
    if (this.#peek() === 0xef && this.#fill(3) && this.#chunk[1] === 0xbb && this.#chunk[2] === 0xbf)
      this.#at = 3;
  }

  /** Passes over blanks; the byte behind them, undefined at the end. */
  skipBlanks(): number | undefined {
    for (let byte = this.#peek(); byte !== undefined; byte = this.#peek()) {
      if (!isBlank(byte)) return byte;
      this.#next();
    }
    return undefined;
  }

  /** One record a line. */
  *lines(): Generator<JsonRecord> {
    let isFirst = true;
    while (this.skipBlanks() !== undefined) {
      const line = this.#line;
      const text = this.#text((byte) => byte === NEWLINE || byte === RETURN);
      const record = this.#record(text, line);
      if (isFirst && record.fault !== undefined && /\.json$/i.test(this.#path)) this.#noList();
      isFirst = false;
      yield record;
    }
  }

  /** The entries of a list; `[` is next. */
  *list(): Generator<JsonRecord> {
    this.#next();
    let byte = this.skipBlanks();
    while (byte !== 0x5d) {
      if (byte === undefined) this.#ends();
      const line = this.#line;
      const text = this.#text((found, depth) => depth === 0 && (found === COMMA || CLOSING.has(found)));
      yield this.#record(text, line);
      byte = this.skipBlanks();
      if (byte === undefined) this.#ends();
      if (byte === COMMA) {
        this.#next();
        byte = this.skipBlanks();
      } else if (byte !== 0x5d) {
        throw new UserError(
          `${this.#path} is not JSON: line ${this.#line}: a comma or the list's end is missing.`,
          {
            code: "DATA",
          },
        );
      }
    }
    this.#next();
    if (this.skipBlanks() !== undefined)
      throw new UserError(`${this.#path}, line ${this.#line}: something stands behind the list.`, {
        code: "DATA",
      });
  }

  #record(bytes: Uint8Array | undefined, line: number): JsonRecord {
    const index = this.#index++;
    if (!bytes) return { line, index, fault: `lists or objects are more than ${MOST_DEPTH} deep` };
    let text: string;
    try {
      text = this.#decoder.decode(bytes);
    } catch {
      return { line, index, fault: "no UTF-8 text" };
    }
    try {
      return { line, index, value: JSON.parse(text) };
    } catch (error) {
      return { line, index, fault: `no JSON: ${jsonFault(text, error).replace(/^line 1, /, "")}` };
    }
  }

  /** Bytes up to one that ends the value, which is left; undefined where they nest too deep. */
  #text(ends: (byte: number, depth: number) => boolean): Uint8Array | undefined {
    const parts: Uint8Array[] = [];
    let [size, depth, deepest] = [0, 0, 0];
    let [isText, isEscaped] = [false, false];
    for (;;) {
      const first = this.#at;
      for (; this.#at < this.#chunk.length; this.#at++) {
        const byte = this.#chunk[this.#at] as number;
        if (isText && byte !== NEWLINE) {
          if (isEscaped) isEscaped = false;
          else if (byte === BACKSLASH) isEscaped = true;
          else if (byte === QUOTE) isText = false;
          continue;
        }
        if (ends(byte, depth)) {
          parts.push(this.#chunk.subarray(first, this.#at));
          return deepest > MOST_DEPTH ? undefined : joined(parts);
        }
        if (byte === NEWLINE) this.#line++;
        if (byte === QUOTE) isText = true;
        else if (OPENING.has(byte)) deepest = Math.max(deepest, ++depth);
        else if (CLOSING.has(byte)) depth--;
      }
      parts.push(this.#chunk.subarray(first));
      size += this.#chunk.length - first;
      if (size > MOST_BYTES) {
        throw new UserError(
          `${this.#path}, line ${this.#line}: a record of more than ${MOST_BYTES >> 20} MB.`,
          {
            code: "DATA",
            hint: "Preference lists name their images by path; a record has a few hundred bytes.",
          },
        );
      }
      if (!this.#load()) return deepest > MOST_DEPTH ? undefined : joined(parts);
    }
  }

  #peek(): number | undefined {
    while (this.#at >= this.#chunk.length) if (!this.#load()) return undefined;
    return this.#chunk[this.#at];
  }

  #next(): void {
    if (this.#peek() === NEWLINE) this.#line++;
    this.#at++;
  }

  #load(): boolean {
    const { value, done } = this.#chunks.next();
    if (done) return false;
    [this.#chunk, this.#at] = [value, 0];
    return true;
  }

  #fill(count: number): boolean {
    return this.#chunk.length - this.#at >= count;
  }

  #ends(): never {
    throw new UserError(`${this.#path} is not JSON: line ${this.#line}: its list does not end.`, {
      code: "DATA",
    });
  }

  #noList(): never {
    throw new UserError(`${this.#path} holds no list of records, and no record a line.`, { code: "DATA" });
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return parts.length === 1 ? (parts[0] as Uint8Array) : new Uint8Array(Buffer.concat(parts));
}
