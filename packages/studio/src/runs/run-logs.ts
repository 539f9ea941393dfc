// The logs of the runs that are looked at, a few at a time.
import type { FoundRun } from "./find-runs.js";
import { RunLog } from "./run-log.js";

/** Logs that are kept read: a log of a million updates takes some hundred megabytes. */
const KEPT = 12;

/** Logs by run, the least recently used forgotten first. */
export class RunLogs {
  readonly #logs = new Map<string, RunLog>();

  /** The log of a run, read to its end. */
  async of({ id, folder }: FoundRun): Promise<RunLog> {
    const log = this.#logs.get(id) ?? new RunLog(folder);
    this.#logs.delete(id);
    this.#logs.set(id, log);
    const [oldest] = this.#logs.keys();
    if (this.#logs.size > KEPT && oldest !== undefined) this.#logs.delete(oldest);
    await log.read();
    return log;
  }
}
