// Votes as they come in: a file that only grows. What was acknowledged is on the disk, whatever happens to the process then; an ID that
// came twice stands there once.
import { closeSync, existsSync, openSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { dirname } from "node:path";
import {
  asUserError,
  type Lock,
  LockTaken,
  makeFolder,
  syncFile,
  takeLock,
  UserError,
} from "@spo/torch/files";
import { parseRecord, readOrdinary } from "./read-record.js";
import { Vote } from "./vote.js";

/** A vote that waits for its turn. */
interface Waiting {
  vote: Vote;
  resolve: () => void;
  reject: (error: unknown) => void;
}

/** A file of votes that this process alone writes. */
export class VoteLog {
  readonly path: string;
  readonly #lock: Lock;
  readonly #file: FileHandle;
  readonly #votes: Vote[];
  /** By ID, when it is on the disk. */
  readonly #kept: Map<string, Promise<void>>;
  /** Length of the whole lines. */
  #bytes: number;
  #waiting: Waiting[] = [];
  #isWriting = false;
  #written?: Promise<void>;

  private constructor(path: string, lock: Lock, file: FileHandle, votes: Vote[], bytes: number) {
    this.path = path;
    this.#lock = lock;
    this.#file = file;
    this.#votes = votes;
    this.#kept = new Map(votes.map(({ id }) => [id, Promise.resolve()]));
    this.#bytes = bytes;
  }

  /**
   * Opens a file of votes, or makes it, and cuts off the half line of a process that was killed: it was not acknowledged.
   *
   * Throws a UserError where another process writes it (`RESOURCE`), or a line of it is no vote (`DATA`).
   */
  static async open(path: string): Promise<VoteLog> {
    makeFolder(dirname(path));
    const lock = lockOf(path);
    try {
      if (!existsSync(path)) {
        closeSync(openSync(path, "a"));
        syncFile(dirname(path));
      }
      const bytes = readOrdinary(path);
      const end = bytes.lastIndexOf(0x0a) + 1;
      const votes = parseVotes(bytes.toString("utf8", 0, end), path);
      const file = await open(path, "r+");
      await file.truncate(end);
      return new VoteLog(path, lock, file, votes, end);
    } catch (error) {
      lock.release();
      throw asUserError(error, path);
    }
  }

  /** All votes that are on the disk, in the order of their coming. */
  get votes(): readonly Vote[] {
    return this.#votes;
  }

  /** Whether a vote of this ID is on the disk or on its way there. */
  has(id: string): boolean {
    return this.#kept.has(id);
  }

  /**
   * Resolves when the vote is on the disk; at once where its ID already is. Throws a UserError (`RESOURCE`) where it cannot be written; the
   * same ID may then be given again.
   */
  append(vote: Vote): Promise<void> {
    const known = this.#kept.get(vote.id);
    if (known) return known;
    const kept = new Promise<void>((resolve, reject) => {
      this.#waiting.push({ vote, resolve, reject });
    });
    this.#kept.set(vote.id, kept);
    kept.catch(() => this.#kept.delete(vote.id));
    if (!this.#isWriting) this.#written = this.#write();
    return kept;
  }

  /** Waits for what is being written, and lets another process write the file. */
  async close(): Promise<void> {
    await this.#written;
    await this.#file.close();
    this.#lock.release();
  }

  /** Writes all that waits, what comes meanwhile after it: many votes at a time share one wait for the disk. */
  async #write(): Promise<void> {
    this.#isWriting = true;
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0);
      const text = Buffer.from(batch.map(({ vote }) => `${JSON.stringify(vote)}\n`).join(""));
      try {
        for (let at = 0; at < text.length; ) {
          const { bytesWritten } = await this.#file.write(text, at, text.length - at, this.#bytes + at);
          at += bytesWritten;
        }
        await this.#file.datasync();
      } catch (error) {
        // Half a line must not stand before the next one. Where even this fails, the next write does it over: it is at the same place.
        await this.#file.truncate(this.#bytes).catch(() => {});
        for (const { reject } of batch) reject(asUserError(error, this.path));
        continue;
      }
      this.#bytes += text.length;
      for (const { vote, resolve } of batch) {
        this.#votes.push(vote);
        resolve();
      }
    }
    this.#isWriting = false;
  }
}

function lockOf(path: string): Lock {
  try {
    return takeLock(`${path}.lock`);
  } catch (error) {
    if (!(error instanceof LockTaken)) throw asUserError(error, `${path}.lock`);
    throw new UserError(
      `${path} is being written by ${error.owner ? `process ${error.owner.pid}` : "another process"}.`,
      {
        code: "RESOURCE",
        hint: "Votes of one set go to one Studio at a time: open that one, or end it.",
        cause: error,
      },
    );
  }
}

function parseVotes(text: string, path: string): Vote[] {
  const seen = new Set<string>();
  return text
    .split("\n")
    .slice(0, -1)
    .flatMap((line, i) => {
      let vote: Vote;
      try {
        vote = parseRecord(line, Vote);
      } catch (error) {
        throw new UserError(`${path}: line ${i + 1} is no vote: ${(error as Error).message}`, {
          code: "DATA",
          hint: "Nothing is added to a damaged file. Put the line right, or give the file another name.",
          cause: error,
        });
      }
      if (seen.has(vote.id)) return [];
      seen.add(vote.id);
      return [vote];
    });
}
