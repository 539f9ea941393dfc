// Errors that a user can mend. No tensor code.
import { readFileSync } from "node:fs";

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

/** What to do where a disk is full. */
export const FREE_SPACE =
  "Free some space and run the same command again; a training goes on from its last checkpoint.";

/** A fault of the file system as a UserError that names the file; anything else as it is. */
export function asUserError(error: unknown, path: string): unknown {
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new UserError(`The disk is full: ${path} was not written. What stood there before is untouched.`, {
      code: "RESOURCE",
      hint: FREE_SPACE,
      cause: error,
    });
  }
  const shortage = syscall && shortageOf(error as Error);
  if (shortage) return shortage;
  if (syscall) {
    return new UserError(`${path} was not written: ${WORDS[code ?? ""] ?? (error as Error).message}.`, {
      code: "RESOURCE",
      hint: code === "EIO" ? undefined : "Give another place to write to.",
      cause: error,
    });
  }
  return error;
}

/**
 * What the machine lacked, as a UserError (`RESOURCE`), if that is why something failed: open files, memory, address space.
 *
 * error: of the system, the engine, a worker or a module that did not load; its causes are looked at too.
 */
export function shortageOf(error: unknown): UserError | undefined {
  for (let at = error, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth++) {
    if (at instanceof UserError && at.code === "RESOURCE") return at;
    const { code = "", message } = at as NodeJS.ErrnoException;
    if (["EMFILE", "ENFILE"].includes(code) || /too many open files/i.test(message) || isUnread(code)) {
      return new UserError("Too many files are open: this process may open no more.", {
        code: "RESOURCE",
        hint: "`ulimit -n` tells how many it may; `ulimit -n 1024` raises it for this shell.",
        cause: error,
      });
    }
    if (
      ["ENOMEM", "ERR_MEMORY_ALLOCATION_FAILED", "ERR_WORKER_OUT_OF_MEMORY"].includes(code) ||
      NO_MEMORY.test(message)
    ) {
      return new UserError(`Not enough memory: ${message.split("\n", 1)[0]}`, {
        code: "RESOURCE",
        hint: "Take a smaller batch or a smaller image, or close other programs. `ulimit -v` tells whether this shell limits the address space.",
        cause: error,
      });
    }
  }
  return undefined;
}

/** Node calls a module not found whose package.json it could not open. */
function isUnread(code: string): boolean {
  if (code !== "ERR_MODULE_NOT_FOUND" && code !== "MODULE_NOT_FOUND") return false;
  try {
    const most = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return most !== undefined && Number(most) < ENOUGH_FILES;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EMFILE";
  }
}

/** Open files with which all modules load; Linux allows 1024 and more. */
const ENOUGH_FILES = 256;

const NO_MEMORY =
  /(can't|cannot|could not|failed to) allocate|out of memory|allocation failed|storage size calculation overflowed|failed to map segment|std::bad_alloc/i;

const WORDS: Record<string, string> = {
  EACCES: "you may not write there",
  EPERM: "you may not write there",
  EROFS: "it is on a read-only file system",
  ENOTDIR: "a part of its path is a file, not a folder",
  EEXIST: "a part of its path is a file, not a folder", // what mkdir says of it
  EISDIR: "it is a folder",
  ENOENT: "no folder can be made there",
  ENAMETOOLONG: "its name is too long",
  ELOOP: "a link in its path leads to itself",
  EIO: "the disk reported an error",
};
