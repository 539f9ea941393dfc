// @ts-check
// Everything between a fresh clone and a running product: node modules from the lock file, libtorch, the addon, the TypeScript,
// the page of Studio.
// Each step is skipped when its result is there; a second run takes a fraction of a second.
//
//   node scripts/setup.mjs [--quiet] [--json] [--again]      what they mean stands in native/lib/set-up-program.js
import { join } from "node:path";
import "../native/lib/require-node.js";
import { withLock } from "../native/lib/lock.js";
import { say } from "../native/lib/say.js";
import { currentAddon, setUpEngine } from "../native/lib/set-up.js";
import { runSetUp } from "../native/lib/set-up-program.js";
import { installNodeModules, nodeModulesAreInstalled } from "./setup/node-modules.mjs";
import { root } from "./setup/root.mjs";
import { buildStudioPage, studioPageIsBuilt } from "./setup/studio-page.mjs";
import { buildTypeScript, typeScriptIsBuilt } from "./setup/typescript.mjs";

await runSetUp(async (again) => {
  const there = again ? null : currentAddon();
  if (there && nodeModulesAreInstalled() && typeScriptIsBuilt() && studioPageIsBuilt())
    return { done: [], addon: there };
  // One set-up at a time in a checkout; the second finds its work done.
  return withLock(
    join(root, "native", "dist", "set-up.lock"),
    async () => {
      /** @type {string[]} */
      const done = [];
      if (!nodeModulesAreInstalled()) done.push(await installNodeModules());
      if (again || !currentAddon()) done.push("addon");
      const addon = await setUpEngine({ again });
      if (!typeScriptIsBuilt()) done.push(await buildTypeScript());
      if (!studioPageIsBuilt()) done.push(await buildStudioPage());
      return { done, addon };
    },
    { onWait: () => say("set-up: another one is at work in this checkout; waiting for it") },
  );
});
