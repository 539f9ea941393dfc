#!/usr/bin/env node
// @ts-check
// Starts the command. In a clone that is not set up, as after `git clone` or `npm ci`, it sets the clone up first.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import module from "node:module";
import { fileURLToPath } from "node:url";

const main = new URL("../dist/index.js", import.meta.url);
const setup = fileURLToPath(new URL("../../../scripts/setup.mjs", import.meta.url));
const words = process.argv.slice(2);

/** Ends with the words of a fault, in JSON too where that is asked for. @param {string} message @param {string} hint */
function fail(message, hint) {
  process.stderr.write(`spo: ${message}\n${hint}\n`);
  if (words.includes("--json"))
    process.stdout.write(
      `${JSON.stringify({ schema: "spo.error/1", code: "ENVIRONMENT", message, hint })}\n`,
    );
  process.exit(7);
}

// Help, version and the search for what is wrong need no engine. npm starts the command rarely enough to look each time whether sources
// have changed since, as they do by `git pull`; whoever calls this file itself is spared that.
const light = words.length === 0 || words.some((word) => /^(doctor|help|--help|-h|--version|-V)$/.test(word));
const byNpm = ["npx", "spo"].includes(process.env.npm_lifecycle_event ?? "");
if (existsSync(setup) && (!existsSync(main) || (byNpm && !light))) {
  const { status, signal } = spawnSync(process.execPath, [setup, "--quiet"], { stdio: ["ignore", 2, 2] });
  if (signal) process.kill(process.pid, signal);
  if (status !== 0)
    fail(
      "The set-up did not come to its end.",
      "`npm run setup` goes on with it; what is missing stands above.",
    );
}
if (!existsSync(main)) fail("The TypeScript is not built.", "Run `npm run setup` in the root of the clone.");
module.enableCompileCache?.(); // Node 22 and later: starts a third faster
const { run } = await import(main.href);
await run();
