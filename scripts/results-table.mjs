// @ts-check
// Writes the README's tables of measured results from committed result files, between their markers.
//
//   npm run results            writes them
//   npm run results -- --check fails when they are stale
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { say } from "../native/lib/say.js";
import { comparisonTable } from "./results-table/comparison.mjs";
import { withTable } from "./results-table/marked.mjs";
import { qualityTable } from "./results-table/quality.mjs";
import { speedTable } from "./results-table/speed.mjs";
import { root } from "./setup/root.mjs";

const { values } = parseArgs({ options: { check: { type: "boolean", default: false } } });
const path = join(root, "README.md");
const before = readFileSync(path, "utf8");
const after = [
  /** @type {const} */ (["quality", qualityTable(resultsIn("examples/emoji/results"))]),
  /** @type {const} */ ([
    "comparison",
    comparisonTable(resultsIn("examples/emoji/results").get("comparison")),
  ]),
  /** @type {const} */ (["speed", speedTable(resultsIn("bench/results"))]),
].reduce((text, [name, table]) => withTable(text, name, table), before);

if (after !== before && values.check) {
  say("README.md: its tables are not those of the committed result files. Run `npm run results`.");
  process.exitCode = 1;
} else if (after !== before) {
  writeFileSync(path, after);
  say("README.md: tables written");
}

/**
 * Result files of a folder by name without `.json`; none where the folder is not there.
 *
 * @param {string} folder
 * @returns {Map<string, any>}
 */
function resultsIn(folder) {
  const at = join(root, folder);
  const names = existsSync(at) ? readdirSync(at).filter((name) => name.endsWith(".json")) : [];
  return new Map(
    names.sort().map((name) => [name.slice(0, -5), JSON.parse(readFileSync(join(at, name), "utf8"))]),
  );
}
