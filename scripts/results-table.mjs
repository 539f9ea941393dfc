// @ts-check
// Writes the documents' tables of measured results from committed result files, between their markers.
//
//   npm run results            writes them
//   npm run results -- --check fails when they are stale
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { say } from "../native/lib/say.js";
import { comparisonTable, headlineTable } from "./results-table/comparison.mjs";
import { withTable } from "./results-table/marked.mjs";
import { qualityTable } from "./results-table/quality.mjs";
import { speedTable } from "./results-table/speed.mjs";
import { root } from "./setup/root.mjs";

const { values } = parseArgs({ options: { check: { type: "boolean", default: false } } });
const example = resultsIn("examples/emoji/results");
const comparison = example.get("comparison");

/** @type {[document: string, tables: [name: string, table: string][]][]} */
const documents = [
  ["README.md", [["headline", headlineTable(comparison)]]],
  [
    "docs/results.md",
    [
      ["comparison", comparisonTable(comparison)],
      ["quality", qualityTable(example)],
      ["pixel", qualityTable(example, "--judge pixel")],
      ["flow", qualityTable(example, "--family sd3")],
    ],
  ],
  [
    "docs/performance.md",
    ["bench/results", "bench/results/amd-epyc"].map((folder, i) => [
      i === 0 ? "speed" : "speed-amd",
      speedTable(resultsIn(folder), folder),
    ]),
  ],
];
for (const [document, tables] of documents) {
  const path = join(root, document);
  const before = readFileSync(path, "utf8");
  const after = tables.reduce((text, [name, table]) => withTable(text, name, table), before);
  if (after === before) continue;
  if (values.check) {
    say(`${document}: its tables are not those of the committed result files. Run \`npm run results\`.`);
    process.exitCode = 1;
  } else {
    writeFileSync(path, after);
    say(`${document}: tables written`);
  }
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
