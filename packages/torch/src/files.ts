// Files that are whole or not there, and errors that a user can mend. No tensor code: `@spo/torch/files` is safe to import anywhere.
import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";

/** What kind of fault a user has to mend; the command line turns it into its exit code. */
export type UserErrorCode = "USAGE" | "CONFIG" | "DATA" | "RESOURCE" | "NUMERIC" | "ENVIRONMENT";

/** A fault that the user can mend: the message says what was wrong and where, the hint what to do. */
export class UserError extends Error {
  override readonly name = "UserError";
  readonly code: UserErrorCode;
  readonly hint?: string;

  constructor(
    message: string,
    { code, hint, cause }: { code: UserErrorCode; hint?: string; cause?: unknown },
  ) {
    super(message, { cause });
    this.code = code;
    if (hint) this.hint = hint;
  }
}

/**
 * Writes a file whole or not at all: a temporary file beside it, synced, renamed, the folder synced. Makes the folder.
 *
 * Chunks of an iterable are written as they come. Throws a UserError (`RESOURCE`) on a full disk; the old file is then still there.
 */
export function writeFileAtomic(path: string, data: string | Uint8Array | Iterable<Uint8Array>): void {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    const file = openSync(temporary, "w");
    try {
      const chunks =
        typeof data === "string" ? [Buffer.from(data)] : data instanceof Uint8Array ? [data] : data;
      for (const chunk of chunks) writeAll(file, chunk);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
    syncFolder(dirname(path));
  } catch (error) {
    rmSync(temporary, { force: true });
    throw explain(error, path);
  }
}

/** Appends one line and syncs it. A crash leaves at most a half line at the end. */
export function appendLine(path: string, line: string): void {
  try {
    const file = openSync(path, "a");
    try {
      writeAll(file, Buffer.from(`${line}\n`));
    } finally {
      closeSync(file);
    }
  } catch (error) {
    throw explain(error, path);
  }
}

function writeAll(file: number, data: Uint8Array): void {
  for (let at = 0; at < data.length; ) at += writeSync(file, data, at, Math.min(data.length - at, 1 << 30));
}

function syncFolder(path: string): void {
  const folder = openSync(path, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

function explain(error: unknown, path: string): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new UserError(`The disk is full: ${path} was not written. What stood there before is untouched.`, {
      code: "RESOURCE",
      hint: "Free some space and run the same command again; it goes on from the last checkpoint.",
      cause: error,
    });
  }
  return error;
}
