// @ts-check
// Loads the addon that `npm run setup` has built. Its functions are typed in index.d.ts.
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

/** @returns {string} path of the compiled addon */
function addonPath() {
  if (process.env.SPO_ADDON) return process.env.SPO_ADDON;
  const record = fileURLToPath(new URL("../dist/addon.json", import.meta.url));
  if (!existsSync(record)) throw new Error("The native engine is not built. Run `npm run setup`.");
  const { addon } = JSON.parse(readFileSync(record, "utf8"));
  if (!existsSync(addon)) throw new Error(`The native engine is gone from ${addon}. Run \`npm run setup\`.`);
  return addon;
}

/** @type {import("./index.js").Native} */
export const native = createRequire(import.meta.url)(addonPath());
