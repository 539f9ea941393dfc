// What a comparison and the processes of its jobs say to each other.
import { UserError, type UserErrorCode } from "@spo/torch/files";
import type { Job, JobProgress } from "./jobs.js";

export type ToWorker = { type: "job"; job: Job } | { type: "stop" };

export type FromWorker =
  | { type: "progress"; progress: JobProgress }
  | { type: "done" }
  /** At a place from which the job can be gone on with. */
  | { type: "stopped" }
  | { type: "fault"; message: string; code?: UserErrorCode; hint?: string; stack?: string };

/** An error in the form that goes between processes. */
export function faultMessage(error: unknown): FromWorker {
  if (error instanceof UserError) {
    const { message, code, hint } = error;
    return { type: "fault", message, code, hint };
  }
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  return { type: "fault", message, stack };
}

/** The error that such a message tells of. */
export function faultError({ message, code, hint, stack }: FromWorker & { type: "fault" }): Error {
  if (code) return new UserError(message, { code, hint });
  const error = new Error(message);
  if (stack) error.stack = stack;
  return error;
}
