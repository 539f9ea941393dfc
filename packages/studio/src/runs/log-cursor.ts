// Reads an event log line by line, again and again as it grows, and tells when it is no longer the one that was read before.
import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";

/** Read at once; between two of these others may compute. */
const CHUNK = 1 << 20;
/** Bytes before a place by which the place is recognised. */
const KNOWN_BY = 256;
/** A longer line is no event. */
const LONGEST_LINE = 64 << 20;

/** A whole line of a log. */
export interface LogLine {
  text: string;
  /** Of the place behind it. */
  mark: () => string;
}

/** What was read at one call. */
export interface ReadLines {
  /** Whether the log is another one, or was cut before the last place: what was read before does not hold. */
  anew: boolean;
  lines: LogLine[];
  /** Whether all whole lines have been read. */
  atEnd: boolean;
}

/**
 * A place in a log that only grows, or is cut back when a run goes on from a checkpoint.
 *
 * A place is written as a mark: the byte behind a line end, and a hash of the bytes before it. So a reader that comes back later, even to
 * another server, learns whether the log is still the one that it knows.
 */
export class LogCursor {
  readonly #path: string;
  #at = 0;
  #known = hashOf(Buffer.alloc(0));

  /** mark: where to go on. A log that does not hold it is read from its start, as `anew`. */
  constructor(path: string, mark?: string) {
    this.#path = path;
    const [, at, known] = /^(\d{1,15})-([0-9a-f]{16})$/.exec(mark ?? "") ?? [];
    if (at !== undefined && known !== undefined) [this.#at, this.#known] = [Number(at), known];
    else if (mark !== undefined) this.#at = Number.MAX_SAFE_INTEGER; // there is no such place
  }

  /** Of the place behind what was read so far. */
  get mark(): string {
    return `${this.#at}-${this.#known}`;
  }

  /** The next whole lines, about a megabyte of them. A log that is not there is empty. */
  read(): ReadLines {
    let file: number;
    try {
      file = openSync(this.#path, "r");
    } catch {
      const anew = this.#at > 0;
      this.#rewind();
      return { anew, lines: [], atEnd: true };
    }
    try {
      const { size } = fstatSync(file);
      const anew = !this.#isIn(file, size);
      if (anew) this.#rewind();
      return { anew, ...this.#linesOf(file, size) };
    } finally {
      closeSync(file);
    }
  }

  #rewind(): void {
    [this.#at, this.#known] = [0, hashOf(Buffer.alloc(0))];
  }

  #isIn(file: number, size: number): boolean {
    return this.#at <= size && hashOf(bytesOf(file, this.#at - KNOWN_BY, this.#at)) === this.#known;
  }

  #linesOf(file: number, size: number): Omit<ReadLines, "anew"> {
    const before = Math.min(KNOWN_BY, this.#at);
    const start = this.#at - before;
    for (let length = CHUNK; ; length *= 2) {
      const to = Math.min(size, this.#at + length);
      const bytes = bytesOf(file, start, to);
      const end = bytes.lastIndexOf(0x0a) + 1;
      const atEnd = to === size || length > LONGEST_LINE;
      if (end <= before) {
        if (atEnd) return { lines: [], atEnd };
        continue; // a line longer than what was read
      }
      const markOf = (place: number): string =>
        `${start + place}-${hashOf(bytes.subarray(Math.max(0, place - KNOWN_BY), place))}`;
      const lines: LogLine[] = [];
      for (let from = before; from < end; ) {
        const next = bytes.indexOf(0x0a, from) + 1;
        lines.push({ text: bytes.toString("utf8", from, next - 1), mark: () => markOf(next) });
        from = next;
      }
      this.#at = start + end;
      this.#known = hashOf(bytes.subarray(Math.max(0, end - KNOWN_BY), end));
      return { lines, atEnd };
    }
  }
}

function bytesOf(file: number, from: number, to: number): Buffer {
  const start = Math.max(0, from);
  const bytes = Buffer.alloc(to - start);
  return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, start));
}

const hashOf = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex").slice(0, 16);
