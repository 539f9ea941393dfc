#!/usr/bin/env node
// @ts-check
// Sets the engine up: npx @spo/native [--quiet] [--json] [--again]
import "../lib/require-node.js";
import { currentAddon, setUpEngine } from "../lib/set-up.js";
import { runSetUp } from "../lib/set-up-program.js";

await runSetUp(async (again) => {
  const before = again ? null : currentAddon();
  return { done: before ? [] : ["addon"], addon: before ?? (await setUpEngine({ again })) };
});
