// An evaluation as one HTML page: it works offline, holds its images and runs no script.
import type { Estimate } from "../statistics.js";
import { type Html, html } from "./html.js";
import { htmlDocument } from "./html-document.js";
import { short, written, writtenInterval } from "./numbers.js";

/** What is known of one set of images; the first set is the base of the others. */
export interface EvaluatedSet {
  name: string;
  /** Model and adapters, or the folder of images. */
  source: string;
  images: number;
  prompts: number;
  pairs?: number;
  metrics: Readonly<Record<string, Estimate & { difference?: Estimate; wins?: Estimate; signTest?: number }>>;
  diversity?: Estimate;
  drift?: Estimate;
}

/** The contents of the page of `spo eval`. The others are compared with the first set. */
export interface EvaluationData {
  metrics: readonly { name: string; spec: string }[];
  /** The metric whose features distances are measured in. */
  featuresOf?: string;
  sets: readonly EvaluatedSet[];
  /** Images side by side; one a set, absent where a set has none. WebP bytes. */
  pictures: readonly { prompt: string; seed?: number; images: readonly (Uint8Array | undefined)[] }[];
  settings: Readonly<Record<string, unknown>>;
}

type Verdict = "better" | "worse" | "unclear";

/** Whether a set is better than the base by a metric: as far as both its win rate's interval and the sign test (p < 0.05) tell. */
export function metricVerdict({
  wins,
  signTest = 1,
}: {
  wins?: Estimate;
  signTest?: number;
}): Verdict | undefined {
  if (!wins) return undefined;
  if (signTest >= 0.05) return "unclear";
  return wins.low > 0.5 ? "better" : wins.high < 0.5 ? "worse" : "unclear";
}

/** Warnings about scores: sets that are better by a metric but less diverse. */
export function warningsOf(sets: readonly EvaluatedSet[]): string[] {
  const [base, ...others] = sets;
  return others.flatMap(({ name, metrics, diversity }) => {
    const better = Object.keys(metrics).filter((key) => metricVerdict(metrics[key] ?? {}) === "better");
    const narrower = base?.diversity && diversity && diversity.high < base.diversity.low;
    return better.length > 0 && narrower
      ? [
          `${name} is better by ${better.join(", ")}, and its images of one prompt are more alike than ${base.name}'s: a score can be reached by fewer kinds of images. Look at the pictures.`,
        ]
      : [];
  });
}

/** p values below what a table needs are bounds. */
const writtenP = (p: number): string => (p < 1e-4 ? "p < 0.0001" : `p = ${short(p)}`);

/** The lines that the terminal shows. */
export function evaluationEssence({ metrics, featuresOf, sets }: EvaluationData): string[] {
  const width = Math.max(...sets.map(({ name }) => name.length));
  const plain = (value: Estimate): string =>
    `${written(value.value, "number")} (${writtenInterval(value, "number")})`;
  const lines: string[] = [];
  for (const { name: metric } of metrics) {
    lines.push(metric);
    for (const { name, metrics: figures, pairs } of sets) {
      const { difference, wins, signTest, ...value } = figures[metric] as EvaluatedSet["metrics"][string];
      const against =
        difference && wins && signTest !== undefined
          ? `; ${difference.value > 0 ? "+" : ""}${written(difference.value, "number")} (${writtenInterval(difference, "number")}), better in ${written(wins.value, "share")} (${writtenInterval(wins, "share")}) of ${pairs} pairs, ${writtenP(signTest)}`
          : "";
      lines.push(`  ${name.padEnd(width)}  ${plain(value)}${against}`);
    }
  }
  for (const kind of ["diversity", "drift"] as const) {
    const told = sets.filter((set) => set[kind]);
    if (told.length === 0) continue;
    lines.push(
      kind === "diversity"
        ? `diversity within prompts, by ${featuresOf}`
        : `drift from ${sets[0]?.name}, by ${featuresOf}`,
    );
    for (const set of told) lines.push(`  ${set.name.padEnd(width)}  ${plain(set[kind] as Estimate)}`);
  }
  return lines;
}

/** The report of `spo eval` as one self-contained HTML page. */
export function evaluationPage(data: EvaluationData): string {
  const { metrics, featuresOf, sets, pictures, settings } = data;
  const [base] = sets as readonly [EvaluatedSet];
  const title =
    sets.length > 1
      ? `${sets
          .slice(1)
          .map(({ name }) => name)
          .join(", ")} against ${base.name}`
      : base.name;
  const warnings = warningsOf(sets);
  const content = html`<header><h1>${title}</h1><p class="lead">${lead(data)}</p>${warnings.length > 0 && html`<ul class="notes card">${warnings.map((each) => html`<li>${each}</li>`)}</ul>`}</header>
<section><h2>Scores</h2><p class="about">Means with 95 % bootstrap intervals over prompts. Pairs are images of the same prompt and noise; the sign test counts prompts.</p>
<div class="charts">${metrics.map(({ name }) => metricCard(name, sets))}</div></section>
${distances(sets, featuresOf)}
${sideBySide(pictures, sets)}
<section><h2>Settings</h2><div class="card panel scroll"><table><tbody>${sets.map(({ name, source }) => html`<tr><th scope="row">${name}</th><td>${source}</td></tr>`)}${metrics.map(({ name, spec }) => html`<tr><th scope="row">metric ${name}</th><td>${spec}</td></tr>`)}${Object.entries(settings).map(([key, value]) => html`<tr><th scope="row">${key}</th><td>${typeof value === "string" ? value : JSON.stringify(value)}</td></tr>`)}</tbody></table></div></section>`;
  return htmlDocument(title, content, OWN_STYLE);
}

function lead({ sets, metrics }: EvaluationData): string {
  const [base] = sets as readonly [EvaluatedSet];
  const names = metrics.map(({ name }) => name).join(", ");
  return `${base.images} images of ${base.prompts} prompts${sets.length > 1 ? " from each model, on the same noise" : ""}, scored by ${names}.`;
}

function metricCard(metric: string, sets: readonly EvaluatedSet[]): Html {
  const figures = sets.map(({ metrics }) => metrics[metric] as EvaluatedSet["metrics"][string]);
  const low = Math.min(...figures.map((each) => each.low));
  const high = Math.max(...figures.map((each) => each.high));
  const rows = sets.map(({ name }, i) => {
    const { difference, wins, signTest, ...value } = figures[i] as EvaluatedSet["metrics"][string];
    const verdict = metricVerdict({ wins, signTest });
    return html`<tr><th scope="row">${name}</th><td>${written(value.value, "number")}<small>${writtenInterval(value, "number")}</small></td><td class="interval">${interval(value, low, high, i === 0)}</td><td>${difference ? html`${difference.value > 0 ? "+" : ""}${written(difference.value, "number")}<small>${writtenInterval(difference, "number")}</small>` : "–"}</td><td>${wins ? html`${written(wins.value, "share")}<small>${writtenInterval(wins, "share")}</small>` : "–"}</td><td>${signTest === undefined ? "–" : writtenP(signTest).replace("p = ", "")}</td><td>${verdict && html`<span class="chip ${verdict}">${{ better: "▲ better", worse: "▼ worse", unclear: "◆ no clear change" }[verdict]}</span>`}</td></tr>`;
  });
  return html`<div class="card panel scroll wide"><h3>${metric}</h3><table><thead><tr><th scope="col">Model</th><th scope="col">Mean</th><th scope="col"></th><th scope="col">Difference</th><th scope="col">Better, of pairs</th><th scope="col">Sign test p</th><th scope="col"></th></tr></thead><tbody>${rows}</tbody></table></div>`;
}

/** A dot with its interval on a common scale. */
function interval({ value, low, high }: Estimate, least: number, most: number, isBase: boolean): Html {
  const at = (x: number): string => String(Math.round(10 + (180 * (x - least)) / (most - least || 1)));
  return html`<svg viewBox="0 0 200 20" class="${isBase ? "base" : "spo"}" role="img" aria-label="${`${short(value)}, from ${short(low)} to ${short(high)}`}"><line class="line" x1="${at(low)}" x2="${at(high)}" y1="10" y2="10"/><circle class="dot" cx="${at(value)}" cy="10" r="4.5"/></svg>`;
}

function distances(sets: readonly EvaluatedSet[], featuresOf: string | undefined): Html | undefined {
  if (!sets.some(({ diversity, drift }) => diversity ?? drift)) return undefined;
  const cell = (value: Estimate | undefined): Html =>
    value
      ? html`<td>${written(value.value, "number")}<small>${writtenInterval(value, "number")}</small></td>`
      : html`<td>–</td>`;
  return html`<section><h2>Diversity and drift</h2><p class="about">Distances (1 − cosine) in the image features of ${featuresOf}. Diversity: between two images of one prompt; when it falls while a score rises, the model pays for the score with sameness. Drift: from ${sets[0]?.name}'s image of the same prompt and noise; its diversity is the measure of how far that is.</p>
<div class="card panel scroll"><table><thead><tr><th scope="col">Model</th><th scope="col">Diversity</th><th scope="col">Drift</th></tr></thead><tbody>${sets.map(({ name, diversity, drift }) => html`<tr><th scope="row">${name}</th>${cell(diversity)}${cell(drift)}</tr>`)}</tbody></table></div></section>`;
}

function sideBySide(pictures: EvaluationData["pictures"], sets: readonly EvaluatedSet[]): Html | undefined {
  if (pictures.length === 0) return undefined;
  const rows = pictures.map(
    ({ prompt, seed, images }) =>
      html`<tr><th scope="row">${prompt}${seed !== undefined && html`<small>seed ${seed}</small>`}</th>${images.map((image, i) => html`<td>${image ? html`<img src="data:image/webp;base64,${Buffer.from(image).toString("base64")}" alt="${`${sets[i]?.name}: ${prompt}`}">` : "–"}</td>`)}</tr>`,
  );
  return html`<section><h2>Side by side</h2><p class="about">The same prompt and noise in each row.</p><div class="card panel scroll"><table class="pictures"><thead><tr><th scope="col">Prompt</th>${sets.map(({ name }) => html`<th scope="col">${name}</th>`)}</tr></thead><tbody>${rows}</tbody></table></div></section>`;
}

const OWN_STYLE = `
.wide { grid-column: 1 / -1; } .wide h3 { padding: 10px 14px 0; }
.wide table { table-layout: fixed; min-width: 900px; } .wide tbody th { min-width: 0; overflow-wrap: anywhere; }
.wide th:nth-child(3) { width: 210px; } .wide th:last-child { width: 165px; } .interval { vertical-align: middle; }
.pictures td, .pictures thead th:not(:first-child) { text-align: center; } .pictures img { display: block; width: min(192px, 22vw); border-radius: 8px; box-shadow: 0 0 0 1px var(--line); margin: 0 auto; }
`;
