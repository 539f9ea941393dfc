#!/usr/bin/env node
// @ts-check
// Starts the command. In a clone that is not set up, as after `git clone` or `npm ci`, it sets the clone up first; elsewhere only the
// engine is set up, by the first command that computes.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import module from "node:module";
import { fileURLToPath } from "node:url";

const main = new URL("../dist/index.js", import.meta.url);
const setup = fileURLToPath(new URL("../../../scripts/setup.mjs", import.meta.url));
const words = process.argv.slice(2);

/**
 * Ends with the words of a fault, in JSON too where that is asked for.
 *
 * @param {string} message
 * @param {string} hint
 * @param {"ENVIRONMENT" | "RESOURCE"} [code]
 */
function fail(message, hint, code = "ENVIRONMENT") {
  process.stderr.write(`spo: ${message}\n${hint}\n`);
  if (words.includes("--json"))
    process.stdout.write(`${JSON.stringify({ schema: "spo.error/1", code, message, hint })}\n`);
  process.exit(code === "RESOURCE" ? 5 : 7);
}

// Help, version and the search for what is wrong need no engine. npm starts the command rarely enough to look each time whether sources
// have changed since, as they do by `git pull`; whoever calls this file itself is spared that.
const light =
  words.length === 0 || words.some((word) => /^(completion|doctor|help|--help|-h|--version|-V)$/.test(word));
const byNpm = ["npx", "spo"].includes(process.env.npm_lifecycle_event ?? "");
if (existsSync(setup) && (!existsSync(main) || (byNpm && !light))) {
  const { status, signal } = spawnSync(process.execPath, [setup, "--quiet"], { stdio: ["ignore", 2, 2] });
  if (signal) process.kill(process.pid, signal);
  if (status !== 0)
    fail(
      "The set-up did not come to its end.",
      "`npx spo setup` goes on with it; what is missing stands above.",
    );
}
if (!existsSync(main)) fail("The TypeScript is not built.", "Run `npm run setup` in the root of the clone.");
const { nodeIsSupported, nodeRange } = await import("@spo/native/node-version");
if (!nodeIsSupported)
  fail(
    `Node ${process.versions.node} is too old or not a supported line; ${nodeRange} is needed.`,
    "Install one from your system's packages or with a version manager: nvm install 22",
  );
module.enableCompileCache?.(); // Node 22 and later: starts a third faster
const { run } = await import(main.href).catch(refuseShortage);
await run();

/** Modules that do not load for want of open files or memory are no bug. @param {Error & { code?: string }} error @returns {never} */
function refuseShortage(error) {
  // With few files Node calls a module not found whose package.json it could not open.
  if (
    ["EMFILE", "ENFILE"].includes(error.code ?? "") ||
    (error.code === "ERR_MODULE_NOT_FOUND" && mayOpenFew()) ||
    /too many open files/i.test(error.message)
  )
    fail(
      "Too many files are open: this process may open no more.",
      "`ulimit -n 1024` raises what this shell allows.",
      "RESOURCE",
    );
  if (error.code === "ENOMEM" || /cannot allocate|out of memory|failed to map segment/i.test(error.message))
    fail(
      "Not enough memory to start.",
      "`ulimit -v` tells whether this shell limits the address space.",
      "RESOURCE",
    );
  throw error;
}

function mayOpenFew() {
  try {
    return Number(/^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1]) < 256;
  } catch {
    return existsSync("/proc/self"); // it is there, and cannot be opened either
  }
}
