// Modules of the user: a judge, a reward, a config.
import { existsSync } from "node:fs";
import { register } from "node:module";
import { extname, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const KINDS = [".js", ".mjs", ".ts", ".mts"];

/** Whether a path is one of a module. */
export const isModulePath = (path: string): boolean => KINDS.includes(extname(path));

let registered = false;

/**
 * Runs a module and gives what it exports by default. TypeScript is read on every Node; `spo` and `@spo/…` are the running ones.
 *
 * Throws whatever the module throws.
 */
export async function importOwn(path: string): Promise<unknown> {
  const hooks = new URL("./own-module-hooks.js", import.meta.url);
  // Run from sources, this file has no built hooks beside it, but then the runner reads TypeScript.
  if (!registered && existsSync(hooks)) register(hooks);
  registered = true;
  return ((await import(pathToFileURL(resolve(path)).href)) as { default?: unknown }).default;
}
