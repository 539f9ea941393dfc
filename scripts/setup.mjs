// @ts-check
// Everything between a fresh clone and a running product: node modules from the lock file, libtorch, the addon, the TypeScript.
// Each step is skipped when its result is there; a second run takes a fraction of a second.
//
//   node scripts/setup.mjs [--quiet] [--json] [--again]
//     --quiet   speaks only when something has to be done
//     --json    facts on stdout at the end
//     --again   looks for libtorch anew, though the last one found is still there
import { rmSync } from "node:fs";
import { join } from "node:path";
import "../native/lib/node-version.js";
import { buildAddon, currentAddon } from "../native/lib/build.js";
import { addonRecordFile } from "../native/lib/find-libtorch.js";
import { withLock } from "../native/lib/lock.js";
import { say } from "../native/lib/say.js";
import { SetupError } from "../native/lib/setup-error.js";
import { installNodeModules, nodeModulesAreInstalled } from "./setup/node-modules.mjs";
import { root } from "./setup/root.mjs";
import { buildTypeScript, typeScriptIsBuilt } from "./setup/typescript.mjs";

const options = new Set(process.argv.slice(2));
const start = performance.now();

async function setup() {
  if (options.has("--again")) rmSync(addonRecordFile, { force: true });
  /** @type {string[]} */
  const done = [];
  if (!(nodeModulesAreInstalled() && currentAddon() && typeScriptIsBuilt())) {
    // One set-up at a time in a checkout; the second finds its work done.
    await withLock(
      join(root, "native", "dist", "set-up.lock"),
      async () => {
        if (!nodeModulesAreInstalled()) done.push(await installNodeModules());
        if (!currentAddon()) {
          await buildAddon();
          done.push("addon");
        }
        if (!typeScriptIsBuilt()) done.push(await buildTypeScript());
      },
      { onWait: () => say("set-up: another one is at work in this checkout; waiting for it") },
    );
  }
  return { done, addon: currentAddon() };
}

try {
  const { done, addon } = await setup();
  const seconds = (performance.now() - start) / 1000;
  if (addon && (!options.has("--quiet") || done.length > 0)) {
    const { version, origin, root, cuda } = addon.libtorch;
    say(
      `set-up: ready in ${seconds.toFixed(1)} s, libtorch ${version}${cuda ? ` with CUDA ${cuda}` : ""} (${origin}: ${root})`,
    );
  }
  if (options.has("--json"))
    console.log(JSON.stringify({ ok: true, seconds, done, node: process.versions.node, ...addon }, null, 2));
} catch (error) {
  const mendable = error instanceof SetupError;
  say(
    mendable
      ? `\nset-up: ${error.message}`
      : `\nset-up failed: ${error instanceof Error ? (error.stack ?? error.message) : error}`,
  );
  if (options.has("--json")) {
    console.log(
      JSON.stringify({ ok: false, problem: String(error), fix: mendable ? error.fix : null }, null, 2),
    );
  }
  process.exitCode = mendable ? error.exitCode : 1;
}
