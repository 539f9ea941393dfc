// One writer a folder: a file that names the process, so that a lock left behind by a dead one is seen as such.
import { closeSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { isRunning, type ProcessIdentity, thisProcess, UserError } from "@spo/torch/files";

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
        writeSync(file, `${JSON.stringify(thisProcess())}\n`);
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
    const owner = JSON.parse(readFileSync(path, "utf8")) as ProcessIdentity;
    return isRunning(owner) ? owner.pid : undefined;
  } catch {
    return undefined; // no lock, or one whose writer died before it was written out
  }
}

function letAllGo(): void {
  for (const path of held) rmSync(path, { force: true });
  held.clear();
}
