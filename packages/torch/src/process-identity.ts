// Which process wrote a lock, and whether it still runs. The number alone does not tell: the system gives it out again.
import { readFileSync } from "node:fs";

/** A process of this machine, as a lock's file names it. */
export interface ProcessIdentity {
  pid: number;
  /** When it started, in ticks since boot; absent where the system does not tell. */
  started?: string;
}

/** What this process writes into its locks. */
export const thisProcess = (): ProcessIdentity => ({ pid: process.pid, started: startTime(process.pid) });

/** Whether the very process that is named still runs. */
export function isRunning({ pid, started }: ProcessIdentity): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  // Numbers are used again, soonest in a container: only one that started at the same tick is the same process.
  return started === undefined || startTime(pid) === started;
}

function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]; // the name before may hold spaces
  } catch {
    return undefined;
  }
}
