// What a fault means for the caller: its exit code, and its words.
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
  [130, "stopped by Ctrl-C (SIGINT)"],
  [143, "stopped by SIGTERM"],
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

/** What to tell of anything that was thrown. What is no fault of the user's is a bug and keeps its stack. */
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

/** Faults of the machine that came from below as plain errors. */
function mendable(thrown: unknown): unknown {
  if (!(thrown instanceof Error) || thrown instanceof UserError) return thrown;
  const { code, path } = thrown as NodeJS.ErrnoException;
  if (code && ["ENOSPC", "EDQUOT", "EROFS"].includes(code)) return asUserError(thrown, path ?? "a file");
  return shortageOf(thrown) ?? thrown;
}
