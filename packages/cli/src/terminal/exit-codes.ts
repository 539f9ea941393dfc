// Errors as exit codes and words.
import { asUserError, shortageOf, UserError, type UserErrorCode } from "@spo/torch/files";
import { Interruption } from "./interruption.js";

/** Exit code, and what it says, in the order of the codes. */
export const EXIT_CODES: readonly [number, string][] = [
  [0, "done"],
  [1, "a check failed, or a bug (with its stack)"],
  [2, "wrong use: an unknown command or option"],
  [3, "a bad config, or an output folder of another run"],
  [4, "missing or damaged data or model"],
  [5, "not enough disk or memory, or a folder that cannot be written"],
  [6, "numbers ran away: the loss was not finite"],
  [7, "the machine lacks something: `npx spo doctor` tells"],
  [129, "stopped by SIGHUP"],
  [130, "stopped by Ctrl-C (SIGINT)"],
  [138, "stopped by SIGUSR1"],
  [143, "stopped by SIGTERM, or because Studio asked"],
];

const CODES: Record<UserErrorCode, number> = {
  USAGE: 2,
  CONFIG: 3,
  DATA: 4,
  RESOURCE: 5,
  NUMERIC: 6,
  ENVIRONMENT: 7,
};

/** A fault in the form of `--json`, and how the process is to end. */
export interface Fault {
  exitCode: number;
  code: string;
  message: string;
  hint?: string;
  /** Of a bug. */
  stack?: string;
}

/** Code, words and hint of anything that was thrown. All but UserErrors are bugs and keep their stack. */
export function faultOf(thrown: unknown): Fault {
  if (thrown instanceof Interruption)
    return { exitCode: thrown.exitCode, code: "INTERRUPTED", message: thrown.message };
  const error = mendable(thrown);
  if (error instanceof UserError) {
    const { code, message, hint } = error;
    return { exitCode: CODES[code], code, message, hint };
  }
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  return { exitCode: 1, code: "BUG", message, stack };
}

/** Errors of the machine that were thrown as plain errors. */
function mendable(thrown: unknown): unknown {
  if (!(thrown instanceof Error) || thrown instanceof UserError) return thrown;
  const { code, path } = thrown as NodeJS.ErrnoException;
  if (code && ["ENOSPC", "EDQUOT", "EROFS"].includes(code)) return asUserError(thrown, path ?? "a file");
  return shortageOf(thrown) ?? unreadable(thrown) ?? thrown;
}

/** Reasons why a given path cannot be read. Absence is not among them, because readers check for that first. */
const UNREADABLE: Record<string, string> = {
  ELOOP: "a link in it leads to itself",
  ENAMETOOLONG: "the name is too long",
  ENOTDIR: "it or a part of its path is no folder",
  EISDIR: "it is a folder",
  EACCES: "you may not read it",
  EPERM: "you may not read it",
  EIO: "the disk reported an error",
  ENXIO: "there is no such device",
};
const READS = ["open", "stat", "lstat", "scandir", "access", "readlink", "realpath"];

/** A path that cannot be read as a UserError (`DATA`); undefined for anything else. */
function unreadable(thrown: NodeJS.ErrnoException): UserError | undefined {
  const { code = "", path, syscall = "", message } = thrown;
  const shown = (text: string): string => (text.length > 200 ? `${text.slice(0, 200)}…` : text);
  if (code === "ERR_INVALID_ARG_VALUE" && /without null bytes/.test(message))
    return new UserError("A path holds a zero byte, which no file's name can.", {
      code: "DATA",
      cause: thrown,
    });
  if (!path || !READS.includes(syscall) || !Object.hasOwn(UNREADABLE, code)) return undefined;
  return new UserError(`${shown(path)} cannot be read: ${UNREADABLE[code]}.`, {
    code: "DATA",
    cause: thrown,
  });
}
