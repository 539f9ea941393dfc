// @ts-check
// Ours against Python's torch and diffusers, from the files that `npm run bench` writes.
import { aimed } from "../bench/figures.mjs";
import { markdownTable } from "./marked.mjs";

/** @typedef {import("../bench/figures.mjs").Figures} Figures */
/** @typedef {{ command: string, date: string, machine: Record<string, unknown>, threads: number, cases: Figures[] }} BenchRecord */

const MAKE =
  "No results are committed yet. `npm run bench` makes them (Python's torch and diffusers beside: `SPO_PYTHON`), `npm run results` writes them here.";

/**
 * @param {ReadonlyMap<string, BenchRecord>} results by file name
 * @param {string} folder of the files
 * @returns {string}
 */
export function speedTable(results, folder = "bench/results") {
  const rows = [...results].flatMap(([name, { cases }]) =>
    cases
      .filter(({ python, ratio }) => python && ratio)
      .map((figures) => [
        `${name}: ${figures.name}`,
        seconds(figures.ours.cpu.min),
        seconds(figures.python?.cpu.min ?? Number.NaN),
        (figures.ratio?.cpu ?? Number.NaN).toFixed(2),
        (figures.ratio?.memory ?? Number.NaN).toFixed(2),
        figures.met === undefined ? "" : `${aimed(figures)}: ${figures.met ? "met" : "missed"}`,
      ]),
  );
  if (rows.length === 0) return MAKE;
  const head = ["", "ours", "Python", "CPU time ratio", "peak memory ratio", "aim"];
  const dates = [...new Set([...results.values()].map(({ date }) => date))].sort();
  const machines = [...new Set([...results.values()].map(({ machine }) => machineName(machine)))];
  const commands = [...new Set([...results.values()].map(({ command }) => `\`${command}\``))];
  const told =
    `Least CPU seconds of both sides by turns in one run; a ratio below 1 is in our favour. ` +
    `Commands: ${commands.join(", ")}. ` +
    `${[...machines, dates.join(", ")].filter(Boolean).join("; ")}. Files: \`${folder}/\`.`;
  return `${markdownTable(head, rows)}\n\n${told}`;
}

/** @param {Record<string, unknown>} machine */
const machineName = (machine) => [machine?.cpu ?? machine?.model].filter(Boolean).join("");

/** @param {number} value */
function seconds(value) {
  if (value >= 1) return `${value.toFixed(2)} s`;
  if (value >= 1e-3) return `${(value * 1e3).toFixed(2)} ms`;
  return `${(value * 1e6).toFixed(2)} µs`;
}
