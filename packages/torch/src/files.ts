// Files that are whole or not there. No tensor code: `@spo/torch/files` is safe to import anywhere.
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { hasRoomForThread, isRunning, isTagRunning, PROCESS_TAG, processTag } from "@spo/native/lock";

import { asUserError, FREE_SPACE, UserError } from "./errors.js";

export {
  hasRoomForThread,
  isPartOfLock,
  type Lock,
  LockTaken,
  lockOwner,
  type ProcessIdentity,
  takeLock,
  thisProcess,
  withLock,
} from "@spo/native/lock";
export { asUserError, shortageOf, UserError, type UserErrorCode } from "./errors.js";
export { workerFile } from "./worker-file.js";

/**
 * Writes a file whole or not at all: a temporary file beside it, synced, renamed, the folder synced. Makes the folder.
 *
 * Chunks of an iterable are written as they come. Throws a UserError (`RESOURCE`) when the disk is full or refuses; the old file is then
 * still there.
 */
export function writeFileAtomic(path: string, data: string | Uint8Array | Iterable<Uint8Array>): void {
  using file = new AtomicFile(path);
  const chunks = typeof data === "string" ? [Buffer.from(data)] : data instanceof Uint8Array ? [data] : data;
  for (const chunk of chunks) file.write(chunk);
  file.place();
}

/**
 * A file that is written piece by piece, and is whole or not there: `place` gives it its name. Disposed of before, it leaves nothing, and
 * what had the name stays.
 *
 * Throws a UserError (`RESOURCE`) when the disk is full or refuses.
 */
export class AtomicFile implements Disposable {
  readonly #path: string;
  readonly #temporary: string;
  readonly #file: number;
  #isOpen = true;

  /** Makes the folder, and removes what killed processes left in it. */
  constructor(path: string) {
    this.#path = path;
    this.#temporary = temporaryOf(path);
    this.#file = this.#do(() => {
      makeMissing(dirname(path));
      sweepOnce(dirname(resolve(path)));
      return openSync(this.#temporary, "w");
    });
  }

  write(bytes: Uint8Array): void {
    this.#do(() => writeAll(this.#file, bytes));
  }

  /** After the last piece: when it returns, the file has its name, also after a power cut. */
  place(): void {
    this.#do(() => {
      fsyncSync(this.#file);
      this.#close();
      renameSync(this.#temporary, this.#path);
      syncFile(dirname(this.#path));
    });
  }

  [Symbol.dispose](): void {
    this.#close();
    removeQuietly(this.#temporary);
  }

  #close(): void {
    if (this.#isOpen) closeSync(this.#file);
    this.#isOpen = false;
  }

  #do<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw asUserError(error, this.#path);
    }
  }
}

/**
 * Where a file or folder is made until it is whole and gets its name. The temporary name says which process makes it, so that leftovers of
 * a killed process can be told from the work of a living one.
 */
export function temporaryOf(path: string): string {
  const whole = path.replace(/(?<=[^/\\])[/\\]+$/, "");
  const ending = `.${processTag()}.tmp`;
  const name = Buffer.from(basename(whole));
  const most = LONGEST_NAME - ending.length;
  return name.length <= most ? `${whole}${ending}` : join(dirname(whole), `${cut(name, most)}${ending}`);
}

/** Of a file's name, in bytes. */
const LONGEST_NAME = 255;

/** The first bytes of a text, without a half character. */
const cut = (text: Buffer, bytes: number): string => text.toString("utf8", 0, bytes).replace(/\ufffd+$/, "");

const OWN_TEMPORARY = new RegExp(`\\.(${PROCESS_TAG})(-[0-9a-f]{8,9})?\\.tmp$`);
/** Age at which a leftover of another machine, container or boot is removed: whether its process still writes cannot be seen from here. */
const FOREIGN_MS = 7 * 24 * 3600 * 1000;

const swept = new Set<string>();

/** Removes what killed processes of any command left half-written in a folder; once a process and folder. */
function sweepOnce(folder: string): void {
  if (swept.has(folder)) return;
  swept.add(folder);
  sweep(folder);
}

function sweep(folder: string): void {
  for (const name of readdirSync(folder)) {
    const tag = OWN_TEMPORARY.exec(name)?.[1];
    if (tag !== undefined && isLeft(tag, join(folder, name)))
      rmSync(join(folder, name), { recursive: true, force: true });
  }
}

function isLeft(tag: string, path: string): boolean {
  const runs = isTagRunning(tag);
  if (runs !== undefined) return !runs;
  const { mtimeMs = Date.now() } = lstatSync(path, { throwIfNoEntry: false }) ?? {};
  return Date.now() - mtimeMs > FOREIGN_MS;
}

/** Removes what killed processes, also of earlier versions, left beside a file or folder that is about to be made. */
export function removeLeftovers(path: string): void {
  const folder = dirname(resolve(path));
  if (!isFolder(folder)) return;
  sweep(folder);
  for (const name of readdirSync(folder)) {
    const pid = name.startsWith(`${basename(path)}.`) && /\.(\d+)\.tmp$/.exec(name)?.[1];
    if (pid && name === `${basename(path)}.${pid}.tmp` && !isRunning({ pid: Number(pid) }))
      rmSync(join(folder, name), { recursive: true, force: true });
  }
}

/**
 * Gives a whole folder its name. Throws a UserError (`DATA`) where another folder has it. An equal folder, left by a process that was ended
 * just after it had written it, is taken for this one.
 */
export function placeFolder(temporary: string, folder: string): void {
  if (isFolder(folder) && readdirSync(folder).length > 0) {
    if (!isSameFolder(temporary, folder))
      throw new UserError(`${folder} is not empty.`, { code: "DATA", hint: "Give another folder." });
    rmSync(temporary, { recursive: true, force: true });
    return;
  }
  rmSync(folder, { recursive: true, force: true });
  renameDurably(temporary, folder);
}

function isSameFolder(a: string, b: string): boolean {
  const names = readdirSync(a).sort();
  if (names.join("/") !== readdirSync(b).sort().join("/")) return false;
  return names.every((name) => {
    const [one, other] = [join(a, name), join(b, name)];
    const [of, to] = [lstatSync(one), lstatSync(other)];
    if (of.isDirectory()) return to.isDirectory() && isSameFolder(one, other);
    return to.isFile() && of.size === to.size && readFileSync(one).equals(readFileSync(other));
  });
}

/** Throws a UserError (`RESOURCE`) where a file of so many bytes would not fit: before the first is written, not after gigabytes. */
export function requireSpace(path: string, bytes: number): void {
  const folder = nearestThere(dirname(resolve(path)));
  let free: number;
  try {
    const { bavail, blocks, bsize } = statfsSync(folder);
    if (blocks === 0) return; // a file system that does not say
    free = bavail * bsize;
  } catch {
    return; // writing will say what is wrong
  }
  if (bytes <= free) return;
  throw new UserError(
    `The disk is full: ${path} needs ${amount(bytes)}, and ${amount(free)} are free. Nothing was written.`,
    { code: "RESOURCE", hint: FREE_SPACE },
  );
}

/** A number of bytes in the unit that it is read in: `512 bytes`, `3.2 kB`, `1.5 MB`, `5.13 GB`. */
export function amount(bytes: number): string {
  if (bytes < 1000) return `${bytes} byte${bytes === 1 ? "" : "s"}`;
  const unit = Math.min(4, Math.floor(Math.log10(Number(bytes.toPrecision(3))) / 3));
  return `${Number((bytes / 1000 ** unit).toPrecision(3))} ${["", "kB", "MB", "GB", "TB"][unit]}`;
}

/** Appends one line. A crash leaves at most a half line at the end; a power cut may lose all since `syncFile`. */
export function appendLine(path: string, line: string): void {
  try {
    const file = openSync(path, "a");
    try {
      writeAll(file, Buffer.from(`${line}\n`));
    } finally {
      closeSync(file);
    }
  } catch (error) {
    throw asUserError(error, path);
  }
}

/** Makes a folder and those above it. Throws a UserError (`RESOURCE`) where none can be made. */
export function makeFolder(path: string): void {
  try {
    makeMissing(path);
  } catch (error) {
    throw asUserError(error, path);
  }
}

/** As `makeFolder`; what it made is removed again at the end of the scope if nothing was put there. */
export function makeFolderToFill(path: string): Disposable {
  let made: string[];
  try {
    made = makeMissing(path);
  } catch (error) {
    throw asUserError(error, path);
  }
  return {
    [Symbol.dispose]() {
      try {
        for (const each of made.toReversed()) rmdirSync(each);
      } catch {
        // It is not empty, which is as it should be.
      }
    },
  };
}

/**
 * Throws a UserError (`RESOURCE`) where no such file or folder can be written: to be called before work begins. Makes nothing.
 *
 * A disk that fills later is an error only when it is written to.
 */
export function requirePlace(path: string, kind: "file" | "folder"): void {
  if (path === "") throw new UserError("The place to write to is an empty text.", { code: "USAGE" });
  try {
    if (kind === "file" && isFolder(path)) throw refusal("EISDIR", path);
    const there = nearestThere(kind === "file" ? dirname(resolve(path)) : path);
    refuseNoFolder(there);
    accessSync(there, constants.W_OK);
  } catch (error) {
    throw asUserError(error, path);
  }
}

/**
 * Makes a folder and those above it → the ones that were missing. One by one: where the system makes none and says ENOENT, as in /proc,
 * Node's recursive mkdir tries for ever.
 */
function makeMissing(folder: string): string[] {
  const there = nearestThere(folder);
  refuseNoFolder(there);
  const missing: string[] = [];
  for (let at = resolve(folder); at !== there; at = dirname(at)) missing.unshift(at);
  for (const each of missing) {
    try {
      mkdirSync(each);
    } catch (error) {
      // Another process may have made it meanwhile.
      if (!isFolder(each)) throw error;
    }
    syncNames(dirname(each));
  }
  return missing;
}

/** The path itself or the nearest above it that is there. */
function nearestThere(path: string): string {
  let at = resolve(path);
  while (!existsSync(at) && at !== dirname(at)) at = dirname(at);
  return at;
}

function refuseNoFolder(path: string): void {
  if (!isFolder(path)) throw refusal("ENOTDIR", path);
}

/** Whether a folder has this path; a link to itself and a name that is too long have none. */
export const isFolder = (path: string): boolean => existsSync(path) && statSync(path).isDirectory();

/** An error as the system would word it. */
const refusal = (code: string, path: string): Error =>
  Object.assign(new Error(`${code}: ${path}`), { code, syscall: "open" });

/** Gives a file or folder its final name; what has that name already must be a file. Holds through a power cut. */
export function renameDurably(from: string, to: string): void {
  try {
    renameSync(from, to);
    syncFile(dirname(to));
  } catch (error) {
    throw asUserError(error, to);
  }
}

/** Waits until a file, or a folder's list of names, is on the disk. */
export function syncFile(path: string): void {
  try {
    const file = openSync(path, "r");
    try {
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    throw asUserError(error, path);
  }
}

/** As `syncFile` for a folder's names, where one may write that may not be read. */
function syncNames(folder: string): void {
  try {
    syncFile(folder);
  } catch (error) {
    if (((error as UserError).cause as NodeJS.ErrnoException)?.code !== "EACCES") throw error;
  }
}

function removeQuietly(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // The error that led here is about to be thrown; it says more.
  }
}

function writeAll(file: number, data: Uint8Array): void {
  for (let at = 0; at < data.length; ) at += writeSync(file, data, at, Math.min(data.length - at, 1 << 30));
}

/** Throws a UserError (`RESOURCE`) where a limit of the address space leaves no room for a thread: Node would end without a word. */
export function requireThread(): void {
  if (hasRoomForThread()) return;
  throw new UserError(
    "Not enough memory: the address space that this shell allows leaves no room for a thread.",
    {
      code: "RESOURCE",
      hint: "`ulimit -v` tells the limit; `ulimit -v unlimited` takes it away, where that is allowed.",
    },
  );
}
