// @ts-check
// `npm run check`: all that must hold before a change lands, in about a minute. One line a step; what failed is shown whole at the end.
import { join } from "node:path";
import { run } from "../native/lib/run.js";
import { codeFaults } from "./check/code-in-documents.mjs";
import { commentLengthFaults } from "./check/comment-length.mjs";
import { docstringFaults } from "./check/docstrings.mjs";
import { durableWriteFaults } from "./check/durable-writes.mjs";
import { layeringFaults } from "./check/layering.mjs";
import { root } from "./setup/root.mjs";

/** @typedef {{ ok: boolean, report: string }} Outcome */

const binary = (/** @type {string} */ name) => join(root, "node_modules/.bin", name);

/**
 * @param {string} command
 * @param {readonly string[]} args
 * @returns {() => Promise<Outcome>}
 */
const command = (command, args) => async () => {
  const { code, stdout, stderr } = await run(command, args, {
    cwd: root,
    env: { FORCE_COLOR: process.stdout.isTTY ? "1" : "0" },
  });
  return { ok: code === 0, report: stdout + stderr };
};

/**
 * @param {(root: string) => string[]} look
 * @returns {() => Promise<Outcome>}
 */
const faultless = (look) => async () => {
  const faults = look(root);
  return { ok: faults.length === 0, report: faults.join("\n") };
};

/** @type {[name: string, work: () => Promise<Outcome>][]} */
const steps = [
  ["format and lint", command(binary("biome"), ["check", "--error-on-warnings", "."])],
  ["types", command(binary("tsc"), ["-b", ".", "bench"])],
  ["types of scripts", command(binary("tsc"), ["-p", "scripts"])],
  ["layering", faultless(layeringFaults)],
  ["docstrings", faultless(docstringFaults)],
  ["durable writes", faultless(durableWriteFaults)],
  ["length of comments", faultless(commentLengthFaults)],
  ["generated operators", command(process.execPath, [join(root, "scripts/gen-ops.mjs"), "--check"])],
  [
    "code in documents",
    async () => {
      const faults = await codeFaults(root);
      return { ok: faults.length === 0, report: faults.join("\n") };
    },
  ],
  ["page of settings", command(process.execPath, [join(root, "scripts/gen-configuration.mjs"), "--check"])],
  ["tables of results", command(process.execPath, [join(root, "scripts/results-table.mjs"), "--check"])],
  ["fast tests", command(binary("vitest"), ["run", "--project", "fast"])],
];

/** @type {[name: string, report: string][]} */
const failures = [];
const start = performance.now();
const seconds = (/** @type {number} */ since) => `${((performance.now() - since) / 1000).toFixed(1)} s`;
for (const [name, work] of steps) {
  const since = performance.now();
  const { ok, report } = await work();
  console.log(`${ok ? "ok  " : "FAIL"} ${name.padEnd(20)} ${seconds(since).padStart(7)}`);
  if (!ok) failures.push([name, report]);
}
for (const [name, report] of failures) console.log(`\n--- ${name}\n${report.trim()}`);
console.log(
  `\n${failures.length === 0 ? "all hold" : `${failures.length} of ${steps.length} failed`}, ${seconds(start)}`,
);
if (failures.length > 0) process.exitCode = 1;
