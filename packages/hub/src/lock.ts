// One process at a time for one blob. Node has no flock, so the lock is a file that names its process and is kept fresh.
import {
  closeSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeSync,
} from "node:fs";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isRunning, makeFolder, type ProcessIdentity, thisProcess } from "@spo/torch/files";

const FRESHEN_MS = 5_000;
/** A lock from another machine that was not freshened for so long is left over. */
const STALE_MS = 60_000;
const POLL_MS = 100;

interface Owner extends ProcessIdentity {
  host: string;
}

/**
 * Runs `work` while no other process, on this machine or on one that shares the folder, runs work of the same lock. A lock that a dead
 * process left is taken over. onWait: told once when the lock is another's.
 */
export async function withLock<T>(
  path: string,
  work: () => Promise<T>,
  { signal, onWait }: { signal?: AbortSignal; onWait?: () => void } = {},
): Promise<T> {
  makeFolder(dirname(path));
  for (let first = true; !take(path); first = false) {
    if (first) onWait?.();
    if (breakStale(path)) continue;
    signal?.throwIfAborted();
    await sleep(POLL_MS);
  }
  const freshen = setInterval(() => touch(path), FRESHEN_MS);
  freshen.unref();
  try {
    return await work();
  } finally {
    clearInterval(freshen);
    rmSync(path, { force: true });
  }
}

/** Makes the lock's file, which fails when there is one. */
function take(path: string): boolean {
  let file: number;
  try {
    file = openSync(path, "wx");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
  try {
    const owner: Owner = { ...thisProcess(), host: hostname() };
    writeSync(file, JSON.stringify(owner));
  } finally {
    closeSync(file);
  }
  return true;
}

/**
 * Removes a lock whose owner is gone. Of several that see it stale one renames it away; whoever renamed away a lock that was taken in
 * between has the time of one system call to see it by its contents, and puts it back.
 */
function breakStale(path: string): boolean {
  const before = read(path);
  if (before === undefined) return true; // gone: try again
  if (!isStale(path, before)) return false;
  const aside = `${path}.${process.pid}`;
  try {
    renameSync(path, aside);
    if (readFileSync(aside, "utf8") !== before) renameSync(aside, path);
    else rmSync(aside, { force: true });
  } catch {
    // Another one was quicker.
  }
  return true;
}

function isStale(path: string, text: string): boolean {
  const age = ageOf(path);
  let owner: Owner;
  try {
    owner = JSON.parse(text) as Owner;
  } catch {
    return age > 2 * FRESHEN_MS; // its writer died between making and writing it
  }
  return owner.host === hostname() ? !isRunning(owner) : age > STALE_MS;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

function ageOf(path: string): number {
  try {
    return Date.now() - statSync(path).mtimeMs;
  } catch {
    return 0;
  }
}

function touch(path: string): void {
  try {
    const now = new Date();
    utimesSync(path, now, now);
  } catch {
    // Taken away by hand: the hash of the finished file is the last word anyway.
  }
}
