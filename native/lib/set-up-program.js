// @ts-check
import { say } from "./say.js";
import { SetupError } from "./setup-error.js";

/** @typedef {import("./libtorch.js").AddonRecord} AddonRecord */

/**
 * Runs a set-up as a program and sets the exit code: 7 for what the user can mend. Words go to stderr.
 *
 *   --quiet   speaks only when something has to be done
 *   --json    facts on stdout at the end
 *   --again   looks for libtorch anew, though the last one found is still there
 *
 * @param {(again: boolean) => Promise<{ done: readonly string[], addon: AddonRecord }>} setUp done: what there was to do
 */
export async function runSetUp(setUp) {
  const options = new Set(process.argv.slice(2));
  const start = performance.now();
  try {
    const { done, addon } = await setUp(options.has("--again"));
    const seconds = (performance.now() - start) / 1000;
    if (!options.has("--quiet") || done.length > 0) say(readyWords(addon, seconds));
    if (options.has("--json"))
      console.log(
        JSON.stringify({ ok: true, seconds, done, node: process.versions.node, ...addon }, null, 2),
      );
  } catch (error) {
    const mendable = error instanceof SetupError;
    say(
      mendable
        ? `\nset-up: ${error.message}`
        : `\nset-up failed: ${error instanceof Error ? (error.stack ?? error.message) : error}`,
    );
    if (options.has("--json"))
      console.log(
        JSON.stringify({ ok: false, problem: String(error), fix: mendable ? error.fix : null }, null, 2),
      );
    process.exitCode = mendable ? error.exitCode : 1;
  }
}

/**
 * What a set-up ends with.
 *
 * @param {AddonRecord} addon
 * @param {number} seconds
 */
export function readyWords({ origin: made, libtorch: { version, origin, root, cuda } }, seconds) {
  const torch = `libtorch ${version}${cuda ? ` with CUDA ${cuda}` : ""} (${origin}: ${root})`;
  return `set-up: ready in ${seconds.toFixed(1)} s, ${torch}, addon ${made}`;
}
