/** One process at a time, on this machine or on one that shares the folder; and which process left a file. Loads no tensor code. */

/** A process, as a lock's file names it. */
export interface ProcessIdentity {
  pid: number;
  /** When it started, in ticks since boot; absent where the system does not tell. */
  started?: string;
  host?: string;
  /** One start of one kernel; absent where the system does not tell. */
  boot?: string;
  /** Where its number counts; absent where the system does not tell. */
  pidNamespace?: string;
}

/** Another process has the lock. */
export class LockTaken extends Error {
  readonly owner: ProcessIdentity | undefined;
}

/** A lock that this process holds, until `release` or its end. */
export class Lock {
  private constructor();
  readonly path: string;
  /** False when it was given back, removed by hand, or taken over by one that saw no sign of life: then another may be at work. */
  isHeld(): boolean;
  release(): void;
}

/**
 * Takes the lock `path`, whose folder must be there. Throws a LockTaken where a living process has it, this one included, and what the
 * file system says where no lock can be made.
 *
 * Blocks while it cannot be told whether the owner lives, at most `silenceMs`; onDoubt is called once before.
 */
export function takeLock(
  path: string,
  options?: {
    onDoubt?: (owner: ProcessIdentity | undefined) => void;
    silenceMs?: number;
    beatMs?: number;
  },
): Lock;

/** Runs `work` while no other process runs work of the same lock; waits for its turn. onWait: told once. Makes the lock's folder. */
export function withLock<T>(
  path: string,
  work: () => Promise<T>,
  options?: { signal?: AbortSignal; onWait?: () => void; silenceMs?: number; beatMs?: number },
): Promise<T>;

/** The owner of a lock that is or may be at work, for showing it. */
export function lockOwner(path: string): ProcessIdentity | undefined;

/** Whether a name in a folder is that of the lock `name` or of what its making leaves. */
export function isPartOfLock(name: string): (entry: string) => boolean;

/** Whether this process may reserve the address space that a thread of Node takes; without it Node ends the whole process. */
export function hasRoomForThread(): boolean;

/** What this process writes into its locks. */
export function thisProcess(): ProcessIdentity;

/** Whether the very process that is named, one of this place, still runs. */
export function isRunning(process: ProcessIdentity): boolean;

/** This process in the name of a file. */
export function processTag(): string;

/** The pattern of `processTag` as a part of a regular expression. */
export const PROCESS_TAG: string;

/** Whether the process of a tag runs; undefined where that cannot be seen from here. */
export function isTagRunning(tag: string): boolean | undefined;
