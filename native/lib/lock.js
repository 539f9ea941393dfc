// @ts-check
// One process at a time, here or on another machine that shares the folder. Node has no flock, so a lock is a file that names its owner.
//
// - It is whole before it has its name: written under another name, then `link`, which fails where the name is taken.
// - Whether an owner of this kernel and pid namespace lives is asked of the system. Any other owner gives signs of life: a thread of its
//   own touches the lock, also while the owner computes for hours in one call. It counts as dead when *this* process saw no sign for
//   `SILENCE_MS` by its monotonic clock. The clocks of file servers and hosts are never compared.
// - A dead owner's lock is replaced, never removed. To take it over, a process must first hold the lock of its succession, whose name is
//   made from the contents that were seen dead. Then it must see these contents still there, and rename its own file over them. So one of
//   many wins, and nobody removes a lock that another has just taken.
// - Only its owner removes it. It compares the contents first, which are drawn at random.
import { createHash, randomUUID } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  utimesSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import {
  isOfThisPlace,
  isRunning,
  isTagRunning,
  PROCESS_TAG,
  processTag,
  thisProcess,
} from "./process-identity.js";

export { isRunning, isTagRunning, PROCESS_TAG, processTag, thisProcess };

/** @typedef {import("./process-identity.js").ProcessIdentity} ProcessIdentity */

/** Between two signs of life. */
const BEAT_MS = 1_000;
/** An owner that cannot be seen from here and gave no sign for so long is dead. */
const SILENCE_MS = 60_000;
const POLL_MS = 100;
/** A lock is shorter. */
const MOST_BYTES = 4096;

/** Another process has the lock. */
export class LockTaken extends Error {
  /** @param {string} path @param {ProcessIdentity | undefined} owner */
  constructor(path, owner) {
    super(`${path} is held by ${owner ? `process ${owner.pid}` : "another process"}`);
    this.name = "LockTaken";
    /** @type {ProcessIdentity | undefined} */
    this.owner = owner;
  }
}

/** A lock that this process holds, until `release` or its end. */
export class Lock {
  /** @param {string} path @param {string} text @param {number} beatMs */
  constructor(path, text, beatMs) {
    this.path = path;
    /** @type {string | undefined} */
    this.text = text;
    held.add(this);
    watchExit();
    heart(beatMs)?.postMessage({ add: path, text });
  }

  /** False when it was given back, removed by hand, or taken over by one that saw no sign of life: then another may be at work. */
  isHeld() {
    return this.text !== undefined && read(this.path)?.text === this.text;
  }

  release() {
    const { path, text } = this;
    if (text === undefined) return;
    this.text = undefined;
    held.delete(this);
    worker?.postMessage({ remove: path });
    removeIfMine(path, text);
  }
}

/**
 * Takes the lock `path`, whose folder must be there. Throws a LockTaken where a living process has it, this one included, and what the file
 * system says where no lock can be made.
 *
 * Blocks while it cannot be told whether the owner lives, at most `silenceMs`; onDoubt is called once before.
 *
 * @param {string} path
 * @param {{ onDoubt?: (owner: ProcessIdentity | undefined) => void, silenceMs?: number, beatMs?: number }} [options]
 * @returns {Lock}
 */
export function takeLock(path, { onDoubt, silenceMs = SILENCE_MS, beatMs = BEAT_MS } = {}) {
  const place = resolve(path);
  /** @type {Seen} */
  const seen = new Map();
  for (let told = false; ; ) {
    const got = attempt(place, seen, silenceMs);
    if (typeof got === "string") return new Lock(place, got, beatMs);
    if (got.state === "lives") throw new LockTaken(path, got.owner);
    if (!told) onDoubt?.(got.owner);
    told = true;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, POLL_MS);
  }
}

/**
 * Runs `work` while no other process runs work of the same lock; waits for its turn. Makes the lock's folder.
 *
 * @template T
 * @param {string} path
 * @param {() => Promise<T>} work
 * @param {{ signal?: AbortSignal, onWait?: () => void, silenceMs?: number, beatMs?: number }} [options] onWait: told once
 * @returns {Promise<T>}
 */
export async function withLock(
  path,
  work,
  { signal, onWait, silenceMs = SILENCE_MS, beatMs = BEAT_MS } = {},
) {
  const place = resolve(path);
  mkdirSync(dirname(place), { recursive: true });
  /** @type {Seen} */
  const seen = new Map();
  for (let told = false; ; ) {
    const got = attempt(place, seen, silenceMs);
    if (typeof got === "string") {
      const lock = new Lock(place, got, beatMs);
      try {
        return await work();
      } finally {
        lock.release();
      }
    }
    if (!told) onWait?.();
    told = true;
    signal?.throwIfAborted();
    await sleep(POLL_MS);
  }
}

/**
 * The owner of a lock that is or may be at work, to be shown. An owner that cannot be seen from here counts while its last sign of life is
 * not old by this machine's clock.
 *
 * @param {string} path
 * @returns {ProcessIdentity | undefined}
 */
export function lockOwner(path) {
  let found;
  try {
    found = read(path);
  } catch {
    return undefined; // a folder, a link that leads nowhere: no process has written it
  }
  const owner = found && parse(found.text);
  if (!found || !owner) return undefined;
  if (isOfThisPlace(owner)) return isRunning(owner) ? owner : undefined;
  return Math.abs(Date.now() - found.sign) < SILENCE_MS ? owner : undefined;
}

/**
 * Whether a name in a folder belongs to a lock or to its making: for callers that ask whether anything else is there.
 *
 * @param {string} name the lock's
 */
export const isPartOfLock = (name) => (/** @type {string} */ entry) =>
  entry === name || (entry.startsWith(`${name}.`) && /\.(tmp|next)$/.test(entry));

/**
 * When a lock was last seen to change, by the monotonic clock.
 * @typedef {Map<string, { text: string, sign: number, since: number }>} Seen
 */

/**
 * Takes the lock and gives its contents, or tells whose it is.
 *
 * @param {string} path
 * @param {Seen} seen
 * @param {number} silenceMs
 * @returns {string | { state: "lives" | "unsure", owner: ProcessIdentity | undefined }}
 */
function attempt(path, seen, silenceMs) {
  for (;;) {
    const found = read(path);
    if (!found) {
      const text = ownText();
      if (writtenAside(path, text, (aside) => linkWhole(aside, path, text))) return taken(path, text);
      continue;
    }
    const state = judge(path, found, seen, silenceMs);
    if (state !== "dead") return { state, owner: parse(found.text) };
    const succession = `${path}.${createHash("sha256").update(found.text).digest("hex").slice(0, 16)}.next`;
    const right = attempt(succession, seen, silenceMs);
    if (typeof right !== "string") return right; // another one is taking it over
    try {
      const text = ownText();
      // Who had the right before us may have used it.
      const replace = (/** @type {string} */ aside) =>
        read(path)?.text === found.text && renamed(aside, path);
      if (writtenAside(path, text, replace)) return taken(path, text);
    } finally {
      removeIfMine(succession, right);
    }
  }
}

const ownText = () => `${JSON.stringify({ ...thisProcess(), token: randomUUID() })}\n`;

/**
 * Writes a whole file beside the lock for `use`, and removes it if it is still there then.
 *
 * @param {string} path
 * @param {string} text
 * @param {(aside: string) => boolean} use
 */
function writtenAside(path, text, use) {
  const aside = `${path}.${processTag()}-${randomUUID().slice(0, 8)}.tmp`;
  try {
    writeWhole(aside, text);
    return use(aside);
  } finally {
    rmSync(aside, { force: true });
  }
}

/** @param {string} from @param {string} to */
function renamed(from, to) {
  renameSync(from, to);
  return true;
}

/** @param {string} path @param {string} text */
function taken(path, text) {
  removeLeftovers(path);
  return text;
}

/**
 * @param {string} path
 * @param {{ text: string, sign: number }} found
 * @param {Seen} seen
 * @param {number} silenceMs
 * @returns {"lives" | "dead" | "unsure"}
 */
function judge(path, found, seen, silenceMs) {
  const owner = parse(found.text);
  if (owner && isOfThisPlace(owner)) return isRunning(owner) ? "lives" : "dead";
  // A torn file, of a power cut say. Where a lock is whole before it has its name nobody is about to fill it.
  if (!owner && hasLinks(path)) return "dead";
  const before = seen.get(path);
  const now = performance.now();
  if (before?.text !== found.text) {
    seen.set(path, { ...found, since: now });
    return "unsure";
  }
  if (before.sign !== found.sign) {
    seen.set(path, { ...found, since: now });
    return "lives";
  }
  return now - before.since > silenceMs ? "dead" : "unsure";
}

/**
 * The owner; undefined for what is no lock of ours, a torn file for example.
 *
 * @param {string} text @returns {ProcessIdentity | undefined}
 */
function parse(text) {
  try {
    const owner = JSON.parse(text);
    return Number.isInteger(owner?.pid) ? owner : undefined;
  } catch {
    return undefined;
  }
}

/**
 * A lock's contents, and when it was last touched, by whatever clock. Opened anew each time, because only then does a network file system
 * ask its server.
 *
 * @param {string} path
 * @returns {{ text: string, sign: number } | undefined} undefined where there is none
 */
function read(path) {
  /** @type {number} */
  let file;
  try {
    // Whatever has the lock's name is opened without waiting for its other end.
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = /** @type {NodeJS.ErrnoException} */ (error);
    if ((code === "ENOENT" && !isLink(path)) || code === "ESTALE") return undefined;
    throw error;
  }
  try {
    const { mtimeMs } = fstatSync(file);
    const bytes = Buffer.alloc(MOST_BYTES);
    return { text: bytes.toString("utf8", 0, readSync(file, bytes)), sign: mtimeMs };
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === "ESTALE") return undefined;
    throw error;
  } finally {
    closeSync(file);
  }
}

/** One that leads nowhere is in the way and yet not there. @param {string} path */
const isLink = (path) => lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;

/** @param {string} path @param {string} text */
function writeWhole(path, text) {
  const file = openSync(path, "wx");
  try {
    writeSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** File systems without hard links: FAT, some network and user-space ones. */
const NO_LINKS = ["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EINVAL", "EMLINK", "EXDEV"];

/** Whether the file system of a lock has hard links: tried, since it tells by no other way. @param {string} path */
function hasLinks(path) {
  return writtenAside(path, "", (aside) => {
    const second = aside.replace(/\.tmp$/, "0.tmp");
    try {
      linkSync(aside, second);
      rmSync(second, { force: true });
      return true;
    } catch {
      return false;
    }
  });
}

/**
 * Gives `aside` the second name `path` unless that is taken.
 *
 * Where there are no hard links the file is made under its name and filled at once; one that is seen empty has no owner yet, which `judge`
 * waits for as for one out of sight.
 *
 * @param {string} aside
 * @param {string} path
 * @param {string} text
 */
function linkWhole(aside, path, text) {
  try {
    linkSync(aside, path);
    return true;
  } catch (error) {
    const { code = "" } = /** @type {NodeJS.ErrnoException} */ (error);
    // A network file system that lost the first answer says so of its own success.
    if (code === "EEXIST") return read(path)?.text === text;
    if (!NO_LINKS.includes(code)) throw error;
  }
  try {
    writeWhole(path, text);
    return true;
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === "EEXIST") return false;
    throw error;
  }
}

/** @param {string} path @param {string} text */
function removeIfMine(path, text) {
  try {
    if (read(path)?.text === text) rmSync(path, { force: true });
  } catch {
    // Its folder is gone or cannot be written. The next process sees that this one has ended.
  }
}

/** What processes left that were killed while they took this lock. Called by its holder. @param {string} path */
function removeLeftovers(path) {
  const part = isPartOfLock(basename(path));
  try {
    for (const name of readdirSync(dirname(path))) {
      if (name === basename(path) || !part(name)) continue;
      const at = join(dirname(path), name);
      const tag = new RegExp(`\\.(${PROCESS_TAG})-[0-9a-f]{8,9}\\.tmp$`).exec(name)?.[1];
      const owner = name.endsWith(".next") ? parse(read(at)?.text ?? "") : undefined;
      const isDead = tag ? isTagRunning(tag) === false : owner && isOfThisPlace(owner) && !isRunning(owner);
      if (isDead) rmSync(at, { force: true });
    }
  } catch {
    // They are in nobody's way.
  }
}

/** @type {Set<Lock>} */
const held = new Set();
let watching = false;

function watchExit() {
  if (watching) return;
  watching = true;
  process.once("exit", () => {
    for (const lock of held) lock.release();
  });
}

/** @type {Worker | null | undefined} null where no thread can be had */
let worker;

/** Touches the locks that it is told of, each only while its contents are there. */
const HEART = `
  const { parentPort, workerData } = require("node:worker_threads");
  const { readFileSync, utimesSync } = require("node:fs");
  const locks = new Map();
  parentPort.on("message", ({ add, remove, text }) => {
    if (add !== undefined) locks.set(add, text);
    else locks.delete(remove);
  });
  setInterval(() => {
    for (const [path, text] of locks) {
      try {
        if (readFileSync(path, "utf8") !== text) locks.delete(path);
        else utimesSync(path, new Date(), new Date());
      } catch {
        // Taken away by hand, or a file system that is away for a moment.
      }
    }
  }, workerData);
`;

/** The thread that gives signs of life, one a process. @param {number} beatMs */
function heart(beatMs) {
  if (worker !== undefined) return worker;
  if (!hasRoomForThread()) {
    beatHere();
    return null;
  }
  try {
    worker = new Worker(HEART, {
      eval: true,
      workerData: beatMs,
      // It holds a few paths.
      resourceLimits: {
        maxOldGenerationSizeMb: 16,
        maxYoungGenerationSizeMb: 2,
        codeRangeSizeMb: 16,
        stackSizeMb: 1,
      },
      env: {},
      execArgv: [],
    });
    worker.unref();
    worker.on("error", beatHere);
  } catch {
    beatHere();
  }
  return worker;
}

/** Node ends the whole process, without a fault that could be caught, when a limit of the address space refuses its thread. */
const THREAD_BYTES = 1 << 30;

/** Whether this process may reserve what a thread of Node takes. */
export function hasRoomForThread() {
  try {
    const most = /^Max address space\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    if (most === undefined) return true; // unlimited
    const used = /^VmSize:\s+(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
    return Number(most) - 1024 * Number(used) > THREAD_BYTES;
  } catch {
    return true; // a system that does not tell
  }
}

/** Where no thread can be had, this one gives the signs between its own work. */
function beatHere() {
  worker = null;
  setInterval(() => {
    for (const lock of held) {
      try {
        if (lock.isHeld()) utimesSync(lock.path, new Date(), new Date());
      } catch {
        // As in the thread.
      }
    }
  }, BEAT_MS).unref();
}
