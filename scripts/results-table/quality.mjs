// @ts-check
// What SPO reached on the emoji example: base, each seed, and the control with random labels, from the quickstart's report.json files.
import { HELD_OUT } from "./held-out.mjs";
import { markdownTable } from "./marked.mjs";

/** @typedef {{ value: number, low: number, high: number }} Estimate */
/** @typedef {{ name: string, unit: "share" | "number", better: string, base: Estimate, spo: Estimate, wins?: Estimate }} Measure */
/** @typedef {{ measures: Measure[], pairCount: number, provenance: Record<string, string | number>, notes?: string[] }} Report */

const MAKE =
  "No results are committed yet. `npm run quickstart -- --seed 0` (1, 2) and `npm run quickstart -- --control` make them: copy each " +
  "`report.json` to `examples/emoji/results/seed-0.json` (`seed-1`, `seed-2`, `random-labels`), then run `npm run results`.";

/**
 * Throws an Error for a result of a fast run, which shows nothing of what SPO reaches.
 *
 * @param {ReadonlyMap<string, Report>} results by file name: `seed-N`, `random-labels`; with another option, its value behind
 * @param {string} [option] of the command that made them: `--family sd3` of `seed-N-sd3`
 * @returns {string}
 */
export function qualityTable(results, option) {
  const end = option ? `-${option.split(" ").at(-1)}` : "";
  const runs = [...results].flatMap(([file, report]) => {
    const name = file.slice(0, file.length - end.length);
    return name + end === file && /^seed-\d+$|^random-labels$/.test(name)
      ? [/** @type {const} */ ([name, report])]
      : [];
  });
  const seeds = runs.filter(([name]) => name.startsWith("seed-"));
  const [first] = seeds;
  if (!first) return MAKE;
  for (const [name, { notes = [] }] of runs)
    if (notes.some((note) => /\bfast run\b/.test(note))) throw new Error(`${name}.json is of a fast run`);
  // Seeds first, the control last.
  const ordered = [...seeds, ...runs.filter(([name]) => name === "random-labels")];
  // To four digits: another build of the engine may round the last ones otherwise.
  const digits = (/** @type {string} */ _, /** @type {unknown} */ value) =>
    typeof value === "number" ? value.toPrecision(4) : value;
  const bases = ordered.map(([, { measures }]) =>
    JSON.stringify(
      measures.map(({ base }) => base),
      digits,
    ),
  );
  // Another preference model scores the base differently; what no training touches must be equal.
  const sameBase = (/** @type {number} */ place) =>
    new Set(bases.map((base) => JSON.stringify(JSON.parse(base)[place]))).size === 1;
  const rows = first[1].measures.flatMap(({ name, unit, better, wins }, place) => {
    const of = (/** @type {Report} */ report) => report.measures.find((measure) => measure.name === name);
    const cells = (/** @type {(measure: Measure) => Estimate | undefined} */ pick) =>
      ordered.map(([, report]) => {
        const measure = of(report);
        const estimate = measure && pick(measure);
        return estimate ? written(estimate, unit) : "";
      });
    const base = sameBase(place) ? written(first[1].measures[place]?.base, unit) : "see the files";
    const direction = better === "higher" ? "↑" : "↓";
    const found = [[`${name} ${direction}`, base, ...cells(({ spo }) => spo)]];
    if (wins) {
      const shares = ordered.map(([, report]) => written(of(report)?.wins, "share"));
      found.push([`${name}: preferred to base, same noise`, "", ...shares]);
    }
    return found;
  });
  const head = ["", "base", ...ordered.map(([name]) => titled(name))];
  const hasControl = ordered.length > seeds.length;
  const { cpu, date } = first[1].provenance;
  const told =
    `${first[1].pairCount} images of each model, of held-out prompts, from the same noise; 95 % bootstrap intervals. ${HELD_OUT} ` +
    `Made by \`npm run quickstart -- ${option ? `${option} ` : ""}--seed N\`${hasControl ? "; random labels: the same with `--control`" : ""}. ` +
    `Files: \`examples/emoji/results/\`${cpu ? `; ${cpu}` : ""}${date ? `, ${date}` : ""}.`;
  return `${markdownTable(head, rows)}\n\n${told}`;
}

const titled = (/** @type {string} */ name) =>
  name === "random-labels" ? "random labels" : `SPO, seed ${name.slice(5)}`;

/** `71 % (65–77)`. @param {Estimate | undefined} estimate @param {"share" | "number"} unit */
function written(estimate, unit) {
  if (!estimate) return "";
  const { value, low, high } = estimate;
  const one = (/** @type {number} */ x) =>
    (unit === "share" ? (100 * x).toFixed(0) : String(Number(x.toPrecision(3)))).replace("-", "−");
  const to = low < 0 ? " to " : "–";
  return `${one(value)}${unit === "share" ? " %" : ""} (${one(low)}${to}${one(high)})`;
}
