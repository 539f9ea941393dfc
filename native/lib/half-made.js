// @ts-check
// Things are made in a temporary folder beside their place and renamed into it when whole. What a killed process left is swept by the next.
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { killAll } from "./run.js";

const DAY = 24 * 60 * 60 * 1000;
const host = hostname().replaceAll(/[^\w-]/g, "");

/** Temporary folders of this process: removed when it is told to end. @type {Set<string>} */
const open = new Set();
let listening = false;

/** Only a process that makes something listens: whoever merely imports this keeps its own way of stopping. */
function removeWhenTold() {
  if (listening) return;
  listening = true;
  for (const [signal, code] of /** @type {const} */ ([
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ])) {
    process.once(signal, () => {
      killAll();
      // Retried: a killed command may have been in the middle of one more file.
      for (const folder of open) rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
      process.exit(code);
    });
  }
}

/**
 * Makes the folder `target` by filling a temporary one. Call it under the lock of `target`.
 *
 * @param {string} target
 * @param {(folder: string) => Promise<void>} fill
 */
export function makeFolder(target, fill) {
  return besides(target, async (folder) => {
    await fill(folder);
    rmSync(target, { recursive: true, force: true });
    chmodSync(folder, 0o777 & ~process.umask()); // a temporary folder is its owner's alone
    renameSync(folder, target);
  });
}

/**
 * Makes the file `target` by writing it into a temporary folder under its own name. Call it under the lock of `target`.
 *
 * @param {string} target
 * @param {(file: string, folder: string) => Promise<void>} write
 */
export function makeFile(target, write) {
  return besides(target, async (folder) => {
    const file = join(folder, basename(target));
    await write(file, folder);
    renameSync(file, target);
  });
}

/**
 * @param {string} target
 * @param {(folder: string) => Promise<void>} work
 */
async function besides(target, work) {
  const parent = dirname(target);
  removeWhenTold();
  mkdirSync(parent, { recursive: true });
  sweep(target);
  const folder = mkdtempSync(join(parent, prefixOf(target)));
  open.add(folder);
  try {
    await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
    open.delete(folder);
  }
}

/** @param {string} target */
const prefixOf = (target) => `.half-${basename(target)}-${host}-`;

/**
 * Removes what killed processes left of `target`. A folder of another machine (the cache may be shared) is left alone for a day.
 * @param {string} target
 */
function sweep(target) {
  for (const name of readdirSync(dirname(target))) {
    if (!name.startsWith(`.half-${basename(target)}-`)) continue;
    const folder = join(dirname(target), name);
    if (name.startsWith(prefixOf(target)) || Date.now() - statSync(folder).mtimeMs > DAY) {
      rmSync(folder, { recursive: true, force: true });
    }
  }
}
