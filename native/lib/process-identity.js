// @ts-check
// Which process wrote a lock or a temporary file, and whether it still runs. The number alone does not tell: the system gives it out again,
// and a container or another machine with the same folder has numbers of its own.
import { createHash } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";

/**
 * @typedef {object} ProcessIdentity
 * @property {number} pid
 * @property {string} [started] when it started, in ticks since boot; absent where the system does not tell
 * @property {string} [host]
 * @property {string} [boot] one start of one kernel; absent where the system does not tell
 * @property {string} [pidNamespace] where its number counts; absent where the system does not tell
 */

/** @type {ProcessIdentity | undefined} */
let own;

/** What this process writes into its locks. @returns {ProcessIdentity} */
export function thisProcess() {
  own ??= { pid: process.pid, ...startedOf(process.pid), host: hostname(), ...kernel() };
  return { ...own };
}

/** Whether a number of that process's place means the same process here. @param {ProcessIdentity} other */
export function isOfThisPlace({ host, boot, pidNamespace }) {
  const mine = thisProcess();
  if (boot === undefined) return host === undefined || host === mine.host; // earlier versions wrote no more
  // Without its namespace a number says nothing, not even beside another one without.
  return boot === mine.boot && pidNamespace !== undefined && pidNamespace === mine.pidNamespace;
}

/** Whether the very process that is named, one of this place, still runs. @param {ProcessIdentity} process_ */
export function isRunning({ pid, started }) {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0); // sends nothing
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== "EPERM") return false;
  }
  const now = statOf(pid);
  // One that has ended and was not waited for by its parent answers still.
  if (now?.state === "Z" || now?.state === "X") return false;
  // Numbers are used again, soonest in a container: only one that started at the same tick is the same process.
  return started === undefined || now?.started === started;
}

/** This process in the name of a file: `1234-5678-0a1b2c3d`, its number, its start and its place. */
export function processTag() {
  const { pid, started = "0" } = thisProcess();
  return `${pid}-${started}-${placeTag()}`;
}

/** The pattern of `processTag` as a part of a regular expression. */
export const PROCESS_TAG = String.raw`\d{1,10}-\d{1,20}-[0-9a-f]{8}`;

/**
 * Whether the process of a tag runs; undefined where that cannot be seen from here.
 *
 * @param {string} tag
 * @returns {boolean | undefined}
 */
export function isTagRunning(tag) {
  const [pid, started, place] = tag.split("-");
  if (place !== placeTag()) return undefined;
  return isRunning({ pid: Number(pid), started: started === "0" ? undefined : started });
}

function placeTag() {
  const { host, boot, pidNamespace } = thisProcess();
  const place = boot === undefined ? host : `${boot} ${pidNamespace}`;
  return createHash("sha256").update(`${place}`).digest("hex").slice(0, 8);
}

function kernel() {
  // A /proc of another namespace names other processes by the same numbers.
  const pidNamespace = linkOf("/proc/self") === String(process.pid) ? linkOf("/proc/self/ns/pid") : undefined;
  try {
    return { boot: readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(), pidNamespace };
  } catch {
    return {};
  }
}

/** @param {string} path */
function linkOf(path) {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** @param {number} pid */
function startedOf(pid) {
  return linkOf("/proc/self") === String(process.pid) ? { started: statOf(pid)?.started } : {};
}

/** @param {number} pid */
function statOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" "); // the name before may hold spaces
    return { state: fields[0], started: fields[19] };
  } catch {
    return undefined;
  }
}
