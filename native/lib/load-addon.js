// @ts-check
// An addon finds libtorch by links beside it, numbered from 0, so that one file serves wherever libtorch is.
import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { run, tail } from "./run.js";

export const ADDON_FILE = "spo.node";

/** A torch package with all of NVIDIA's libraries has some fifteen folders of them. */
const MOST_FOLDERS = 32;

/** Where an addon looks for libraries: in the links beside it. */
export const LIBRARY_PATH = Array.from({ length: MOST_FOLDERS }, (_, index) => `$ORIGIN/${index}`).join(":");

/**
 * Makes the links by which an addon in `folder` finds a libtorch.
 *
 * @param {{ libraries: readonly string[] }} libtorch
 * @param {string} folder
 */
export function linkLibraries({ libraries }, folder) {
  for (const [index, library] of libraries.entries()) symlinkSync(library, join(folder, String(index)));
}

/**
 * Why an addon does not load, or null when it does. Asked in a process of its own, because a library that is loaded stays.
 *
 * @param {string} file
 * @param {{ everySymbol?: boolean }} [options] every function is looked for at once, not when it is called
 * @returns {Promise<string | null>}
 */
export async function loadFault(file, { everySymbol = false } = {}) {
  const { code, stderr } = await run(process.execPath, ["-e", "require(process.argv[1])", file], {
    env: everySymbol ? { LD_BIND_NOW: "1" } : {},
  });
  return code === 0 ? null : (stderr.match(/^\w*Error: (.*)$/m)?.[1] ?? tail(stderr, 8));
}
