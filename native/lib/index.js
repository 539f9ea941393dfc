// @ts-check
// Loads the addon that set-up has made ready. Its functions are typed in index.d.ts.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { readAddonRecord } from "./addon-record.js";

const MEND = "Run `npx spo setup`, or `npx @spo/native` where @spo/cli is not installed.";

/** @returns {string} path of the addon */
function addonPath() {
  if (process.env.SPO_ADDON) return process.env.SPO_ADDON;
  const addon = readAddonRecord()?.addon;
  if (!addon) throw new Error(`The engine is not set up. ${MEND}`);
  if (!existsSync(addon)) throw new Error(`The engine's addon is gone from ${addon}. ${MEND}`);
  return addon;
}

/** @type {import("./index.js").Native} */
export const native = createRequire(import.meta.url)(addonPath());
