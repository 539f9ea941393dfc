// One writer a folder: a file that names the process, so that a lock left behind by a dead one is seen as such.
import { closeSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { UserError } from "@spo/torch/files";

const held = new Set<string>();
let watching = false;

/**
 * Takes the lock `path`, or throws a UserError when another living process has it. A dead process's lock is taken over.
 *
 * Gives the function that lets go; otherwise the lock goes when the process exits.
 */
export function takeLock(path: string, folder: string): () => void {
  if (held.has(path)) return () => {}; // opened twice by one process: the first holder lets go
  for (;;) {
    try {
      const file = openSync(path, "wx"); // fails when it exists: of two processes one wins
      try {
        writeSync(file, `${JSON.stringify(self())}\n`);
      } finally {
        closeSync(file);
      }
      break;
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code !== "EEXIST") {
        throw new UserError(`${folder} cannot be written: ${message}.`, { code: "RESOURCE", cause: error });
      }
      const owner = lockOwner(path);
      if (owner !== undefined) {
        throw new UserError(`${folder} is being written by process ${owner}.`, {
          code: "RESOURCE",
          hint: "Wait for it to end, or give another output folder.",
        });
      }
      rmSync(path, { force: true });
    }
  }
  if (!watching) process.once("exit", letAllGo);
  watching = true;
  held.add(path);
  return () => {
    if (held.delete(path)) rmSync(path, { force: true });
  };
}

/** The living process that holds a lock, or undefined. */
export function lockOwner(path: string): number | undefined {
  try {
    const { pid, started } = JSON.parse(readFileSync(path, "utf8")) as ReturnType<typeof self>;
    return Number.isInteger(pid) && pid > 0 && isAlive(pid, started) ? pid : undefined;
  } catch {
    return undefined; // no lock, or one whose writer died before it was written out
  }
}

const self = (): { pid: number; started?: string } => ({ pid: process.pid, started: startTime(process.pid) });

function isAlive(pid: number, started: string | undefined): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  // Numbers are used again, soonest in a container: only one that started at the same tick is the same process.
  return started === undefined || startTime(pid) === started;
}

/** When a process started, in ticks since boot; undefined where the system does not tell. */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]; // the name before may hold spaces
  } catch {
    return undefined;
  }
}

function letAllGo(): void {
  for (const path of held) rmSync(path, { force: true });
  held.clear();
}
