// @ts-check
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hash } from "../../native/lib/hash.js";
import { run, tail } from "../../native/lib/run.js";
import { task } from "../../native/lib/say.js";
import { SetupError } from "../../native/lib/setup-error.js";
import { root } from "./root.mjs";

const modules = join(root, "node_modules");
const stamp = join(modules, ".spo-lock-hash");

/** True when node_modules is what the lock file says, whether this set-up or the user's own npm made it so. */
export function nodeModulesAreInstalled() {
  const lock = readFileSync(join(root, "package-lock.json"), "utf8");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === hash(lock)) return true;
  // npm writes this last, so it is there only after a whole installation.
  const hidden = join(modules, ".package-lock.json");
  if (
    !existsSync(hidden) ||
    !matches(JSON.parse(lock).packages, JSON.parse(readFileSync(hidden, "utf8")).packages)
  )
    return false;
  writeFileSync(stamp, hash(lock));
  return true;
}

/**
 * @typedef {{ version?: string, integrity?: string, optional?: boolean, link?: boolean }} Entry
 * @param {Record<string, Entry>} wanted
 * @param {Record<string, Entry>} installed
 */
export function matches(wanted, installed) {
  return Object.entries(wanted).every(([path, { version, integrity, optional }]) => {
    if (!path.includes("node_modules/")) return true; // the workspaces themselves
    const there = installed[path];
    return there ? there.version === version && there.integrity === integrity : optional === true;
  });
}

export async function installNodeModules() {
  const progress = task("installing node modules from the lock file");
  // Under `npm run` the same npm goes on; it says where it is.
  const npm = process.env.npm_execpath?.endsWith("npm-cli.js")
    ? [process.execPath, process.env.npm_execpath]
    : ["npm"];
  const args = [
    ...npm.slice(1),
    "ci",
    "--ignore-scripts",
    "--include=dev",
    "--include=optional",
    "--no-audit",
    "--no-fund",
  ];
  const { code, stderr } = await run(npm[0] ?? "npm", args, { cwd: root, tick: () => progress.update() });
  if (code === 127)
    throw new SetupError(
      "npm was not found.",
      "Install the npm that belongs to your Node, or put it on the PATH.",
    );
  if (code !== 0) {
    const lines = stderr
      .split("\n")
      .filter((line) => line.startsWith("npm error"))
      .slice(0, 6)
      .join("\n");
    if (/ENOSPC/.test(stderr)) throw new SetupError(`The disk of ${root} is full.`, "Free about 0.4 GB.");
    throw new SetupError(
      `npm could not install the node modules.\n${tail(lines || stderr, 6)}`,
      "Check the network and npm's registry setting (npm config get registry), then run\nnpm ci --ignore-scripts",
    );
  }
  writeFileSync(stamp, hash(readFileSync(join(root, "package-lock.json"))));
  progress.done();
  return "node modules";
}
