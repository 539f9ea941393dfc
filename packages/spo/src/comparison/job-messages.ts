// The messages between a comparison and the processes of its jobs.
import { UserError, type UserErrorCode } from "@spo/torch/files";
import type { Job, JobProgress } from "./jobs.js";

export type ToWorker = { type: "job"; job: Job } | { type: "stop" };

export type FromWorker =
  | { type: "progress"; progress: JobProgress }
  | { type: "done" }
  /** At a place from which the job can be gone on with. */
  | { type: "stopped" }
  | { type: "fault"; message: string; code?: UserErrorCode; hint?: string; stack?: string };

/** An error as a message between processes. */
export function faultMessage(error: unknown): FromWorker {
  if (error instanceof UserError) {
    const { message, code, hint } = error;
    return { type: "fault", message, code, hint };
  }
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  return { type: "fault", message, stack };
}

/** The error of such a message. */
export function faultError({ message, code, hint, stack }: FromWorker & { type: "fault" }): Error {
  if (code) return new UserError(message, { code, hint });
  const error = new Error(message);
  if (stack) error.stack = stack;
  return error;
}
