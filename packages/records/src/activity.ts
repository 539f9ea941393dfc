// What a run does now, for those who watch it: a small file in its folder, written over and over. Nothing depends on it, so what goes wrong
// with it is passed over.
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { fileOfRun, parseRecord } from "./read-record.js";

/** What a run does now, as `sampling`, 7 of 20. */
export const Activity = z.object({
  phase: z.string(),
  done: z.number(),
  /** 0 where there is nothing to count. */
  total: z.number(),
  /** Seconds that the training will take from then on; absent before they can be told. */
  left: z.number().min(0).optional(),
  /** ISO 8601. */
  at: z.string(),
});
/** What a run does now. */
export type Activity = z.output<typeof Activity>;

/** Its name in a run's folder. */
export const ACTIVITY = "activity.json";

/** Between two writes of one phase: a step of a large batch has thousands of parts. */
const LEAST_MS = 1000;
const MOST_BYTES = 4096;

/** The activity of a run that this process writes. */
export class ActivityFile {
  readonly #path: string;
  #told?: { phase: string; at: number };

  constructor(folder: string) {
    this.#path = join(folder, ACTIVITY);
  }

  tell(activity: Activity, now = performance.now()): void {
    if (this.#told?.phase === activity.phase && now - this.#told.at < LEAST_MS) return;
    this.#told = { phase: activity.phase, at: now };
    try {
      writeFileSync(this.#path, JSON.stringify(activity)); // in place: a reader passes over a torn one
    } catch {
      // A full disk is told of by what must be written.
    }
  }

  /** The run does nothing any more. */
  clear(): void {
    if (this.#told === undefined) return;
    this.#told = undefined;
    try {
      rmSync(this.#path, { force: true });
    } catch {
      // Of a run that nobody writes it says nothing.
    }
  }
}

/** What the process that writes a run said last; undefined where it said nothing, or is writing it just now. */
export function readActivity(folder: string): Activity | undefined {
  try {
    const bytes = fileOfRun(folder, ACTIVITY, MOST_BYTES);
    return bytes && parseRecord(Buffer.from(bytes).toString("utf8"), Activity);
  } catch {
    return undefined;
  }
}
