// @ts-check
// Base, Diffusion-DPO and SPO side by side, from the comparison.json of `spo compare`.
import { HELD_OUT } from "./held-out.mjs";
import { markdownTable } from "./marked.mjs";

/** @typedef {{ value: number, low: number, high: number }} Estimate */
/** @typedef {Record<"diversity" | "saturation" | "contrast" | "highFrequency", Estimate>} Measures */
/**
 * @typedef {{ name: string, title?: string, score: Estimate, wins?: Estimate, onPrompt?: Estimate,
 *   signTest?: { byImage: number, byPrompt: number }, measures?: Measures, seeds?: { seed: number, wins: number }[] }} Row
 */
/** @typedef {{ other: number, own?: number, ratio?: number, spent?: number }} Lead */
/**
 * @typedef {{ clock: "seconds" | "cpuSeconds", rows: Row[], spoOverDpo: Estimate,
 *   counts: { images: number, prompts: number, seeds: number },
 *   leads: { spending: string, withPreference: boolean, method: string, over: string, lead?: Lead, bySeed: (number | null)[] }[],
 *   work: { stage: string, seconds: number, cpuSeconds: number, teraFlops: number }[], provenance: Record<string, string | number> }} Facts
 */

const MAKE =
  "No comparison is committed yet. `npx spo compare` makes it: copy `comparison.json` and `comparison.png` to " +
  "`examples/emoji/results/`, then run `npm run results`.";

/** Of files from before a row had a title. @type {Readonly<Record<string, string>>} */
const NAMES = { base: "base", dpo: "Diffusion-DPO", spo: "SPO" };

/** @param {Row} row */
const titleOf = ({ name, title }) => title ?? NAMES[name] ?? name;

/** All methods' names. @param {Facts} facts */
const methodsOf = ({ rows }) => rows.flatMap(({ name }) => (name === "base" ? [] : [name]));
const UNITS = /** @type {const} */ ({ seconds: "seconds", cpuSeconds: "CPU seconds", teraFlops: "TFLOP" });

/**
 * The whole comparison.
 *
 * @param {Facts | undefined} facts
 * @returns {string}
 */
export function comparisonTable(facts) {
  if (!facts) return MAKE;
  const { rows, counts, work, provenance, clock } = facts;
  const of = (/** @type {(row: Row) => string} */ cell) => rows.map(cell);
  const lines = [
    ["judge, held-out prompts ↑", ...of(({ score }) => estimate(score))],
    ["better than the base, same noise", ...of(({ wins }) => share(wins))],
    ["by seed", ...of(({ seeds }) => (seeds ?? []).map(({ wins }) => `${percent(wins)} %`).join(", "))],
    [
      "sign test, p: by image; by prompt",
      ...of(({ signTest }) =>
        signTest ? `${probability(signTest.byImage)}; ${probability(signTest.byPrompt)}` : "",
      ),
    ],
    ["on-prompt accuracy ↑", ...of(({ onPrompt }) => share(onPrompt))],
    [
      "diversity of a prompt's images",
      ...of(({ measures }) => (measures ? estimate(measures.diversity) : "")),
    ],
    [
      "saturation; contrast; fine detail",
      ...of(({ measures: m }) =>
        m ? [m.saturation, m.contrast, m.highFrequency].map(({ value }) => short(value)).join("; ") : "",
      ),
    ],
    ...[clock, "teraFlops"].map((spending) => {
      return [
        `${UNITS[/** @type {keyof typeof UNITS} */ (spending)]} until as good as the other at its best (the other's; ratio)`,
        "",
        ...methodsOf(facts).map((method) => lead(facts, method, spending)),
      ];
    }),
    [
      "the same in time, a preference model at hand",
      "",
      ...methodsOf(facts).map((method) => lead(facts, method, clock, false)),
    ],
  ];
  const stage = (/** @type {string} */ start) => work.find((one) => one.stage.startsWith(start));
  const seconds = (/** @type {string} */ start) => Math.round(stage(start)?.[clock] ?? 0);
  const unit = clock === "cpuSeconds" ? "CPU seconds" : "s";
  const told =
    `SPO preferred to Diffusion-DPO in ${share(facts.spoOverDpo)} of same-noise pairs. ${counts.images} images of each run, of ` +
    `${counts.prompts} held-out prompts; ${counts.seeds} seeds; 95 % bootstrap intervals over prompts. ${HELD_OUT} Each run of Diffusion-DPO trained for ` +
    `${seconds("Diffusion-DPO")} ${unit}, of SPO for ${seconds("SPO, one run")} after ${seconds("preference")} of its preference model, which count in the ratios. ` +
    `Made by \`npx spo compare${rows.length > 3 ? " emoji-latent" : ""}${clock === "cpuSeconds" ? " --clock cpu" : ""}\`; ${provenance.processor}, ${provenance.date}.`;
  return `${markdownTable(["", ...rows.map(titleOf)], lines)}\n\n${told}`;
}

/**
 * The four rows of the comparison that the README shows.
 *
 * @param {Facts | undefined} facts
 * @returns {string}
 */
export function headlineTable(facts) {
  if (!facts) return MAKE;
  const { rows, counts, clock, provenance } = facts;
  const of = (/** @type {(row: Row) => string} */ cell) => rows.map(cell);
  const lines = [
    ["judge's mean score ↑", ...of(({ score }) => estimate(score))],
    ["images better than the base's, same noise ↑", ...of(({ wins }) => share(wins))],
    ["on-prompt accuracy ↑", ...of(({ onPrompt }) => share(onPrompt))],
    [
      `${UNITS[clock]} until as good as the other at its best (the other's; ratio) ↓`,
      "",
      ...methodsOf(facts).map((method) => lead(facts, method, clock)),
    ],
  ];
  const told =
    `${counts.images} images of each run, of ${counts.prompts} held-out prompts; ${counts.seeds} seeds; 95 % bootstrap intervals over prompts. ` +
    `Made by \`npx spo compare\`; ${provenance.processor}, ${provenance.date}.`;
  return `${markdownTable(["", ...rows.map(titleOf)], lines)}\n\n${told}`;
}

/** @param {Facts} facts @param {string} method @param {string} spending @param {boolean} [withPreference] */
function lead({ leads }, method, spending, withPreference = true) {
  const found = leads.find(
    (one) => one.spending === spending && one.withPreference === withPreference && one.method === method,
  )?.lead;
  if (!found) return "the other is never better than the base";
  if (found.own === undefined) return `never in ${short(found.spent ?? 0)} (${short(found.other)})`;
  return `${short(found.own)} (${short(found.other)}; ×${short(found.ratio ?? 0)})`;
}

const short = (/** @type {number} */ value) => String(Number(value.toPrecision(3))).replace("-", "−");
const percent = (/** @type {number} */ value) => (100 * value).toFixed(0);
const probability = (/** @type {number} */ p) => (p < 1e-4 ? "< 0.0001" : String(Number(p.toPrecision(2))));

/** `−0.74 (−1.2 to −0.28)`. @param {Estimate} value */
const estimate = ({ value, low, high }) =>
  `${short(value)} (${short(low)}${low < 0 ? " to " : "–"}${short(high)})`;

/** `71 % (65–77)`. @param {Estimate | undefined} value */
const share = (value) =>
  value ? `${percent(value.value)} % (${percent(value.low)}–${percent(value.high)})` : "";
