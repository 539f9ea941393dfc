// A run's log on the disk. It is only appended to, and recognised by its bytes, so that losses are noticed.
import { createHash, type Hash } from "node:crypto";
import { existsSync, rmSync, statSync, truncateSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { appendLine, renameDurably } from "@spo/torch/files";
import { readOrdinary } from "./read-record.js";

/** What a log was at one moment. */
export interface LogMark {
  bytes: number;
  /** Hexadecimal, of these bytes. */
  sha256: string;
}

/** One `events.jsonl`, which this process alone writes. */
export class EventLog {
  readonly path: string;
  #bytes = 0;
  #hash: Hash = createHash("sha256");

  constructor(path: string) {
    this.path = path;
  }

  /** Reads an existing log and cuts off the half line of a killed writer. A file without a whole line is removed. */
  open(): void {
    const isThere = this.isThere();
    const bytes = isThere ? this.#read() : Buffer.alloc(0);
    const end = bytes.lastIndexOf("\n") + 1;
    if (isThere && end === 0) rmSync(this.path);
    else if (end < bytes.length) truncateSync(this.path, end);
    this.#know(bytes.subarray(0, end));
  }

  isThere(): boolean {
    return existsSync(this.path);
  }

  /** Whether something else removed or changed it meanwhile; the log is then continued as it is. */
  disturbance(): "gone" | "changed" | undefined {
    const size = statSync(this.path, { throwIfNoEntry: false })?.size;
    if (size === this.#bytes || (size === undefined && this.#bytes === 0)) return undefined;
    this.open();
    return size === undefined ? "gone" : "changed";
  }

  append(line: string): void {
    appendLine(this.path, line);
    this.#hash.update(`${line}\n`);
    this.#bytes += Buffer.byteLength(line) + 1;
  }

  mark(): LogMark {
    return { bytes: this.#bytes, sha256: this.#hash.copy().digest("hex") };
  }

  /** Whether it still begins with the bytes of that moment. */
  holds({ bytes, sha256 }: LogMark): boolean {
    if (this.#bytes < bytes) return false;
    return createHash("sha256").update(this.#read().subarray(0, bytes)).digest("hex") === sha256;
  }

  /** Removes what stands behind so many bytes. */
  cut(bytes: number): void {
    if (bytes === this.#bytes) return;
    truncateSync(this.path, bytes);
    this.#know(this.#read());
  }

  /** Gives it another name beside its own, and gives that. */
  layAside(): string {
    const nameOf = (n: number): string =>
      join(dirname(this.path), `${basename(this.path, ".jsonl")}.lost-${n}.jsonl`);
    let n = 1;
    while (existsSync(nameOf(n))) n++;
    renameDurably(this.path, nameOf(n));
    this.#know(Buffer.alloc(0));
    return basename(nameOf(n));
  }

  /** Its lines, each with its end. */
  lines(): string[] {
    return this.isThere()
      ? this.#read()
          .toString("utf8")
          .split(/(?<=\n)/)
      : [];
  }

  #read(): Buffer {
    return readOrdinary(this.path);
  }

  #know(bytes: Buffer): void {
    this.#bytes = bytes.length;
    this.#hash = createHash("sha256").update(bytes);
  }
}
