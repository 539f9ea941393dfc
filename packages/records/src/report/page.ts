// The report as one HTML page: it works offline, holds its images and runs no script.
import type { Estimate } from "../statistics.js";
import { chartSection } from "./chart-section.js";
import {
  type Extremes,
  type ImagePair,
  type Measure,
  type ReportData,
  type SampleRow,
  type StageWork,
  type Strip,
  type StripRow,
  verdict,
} from "./data.js";
import { type Html, html, Html as Raw } from "./html.js";
import { htmlDocument } from "./html-document.js";
import { duration, short, type Unit, written, writtenInterval } from "./numbers.js";
import { PASS_NAMES } from "./pass-names.js";

/** A training's or the quickstart's report as one self-contained HTML page. */
export function reportPage(data: ReportData): string {
  const content = html`<header><h1>${data.title}</h1>${data.verdict && html`<p class="verdict">${data.verdict}</p>`}<p class="lead">${data.summary}</p>${headlines(data)}</header>
${extremes(data.extremes)}
${pictures(data)}
${sampleRows(data.samples ?? [])}
${numbers(data)}
${data.charts.map(chartSection)}
${strips(data.strips)}
${work(data.work)}
${settings(data)}`;
  return htmlDocument(data.title, content);
}

/** The essence as a small table, for a terminal of 80 columns; none where nothing is measured. */
export function essence(data: ReportData): string[] {
  const rows = data.measures.map((measure) => {
    const { name, unit, base, spo, wins } = measure;
    const won = wins ? `${written(wins.value, "share")} (${writtenInterval(wins, "share")})` : "";
    return [name, written(base.value, unit), written(spo.value, unit), won, WORDS[verdict(measure)]];
  });
  if (rows.length === 0) return [];
  const head = ["", "base", "SPO", "SPO better", ""];
  const widths = head.map((cell, i) =>
    Math.max(...[head, ...rows].map((row) => (row[i] as string).length), cell.length),
  );
  const aligned = [head, ...rows].map((row) =>
    row
      .map((cell, i) =>
        i === 1 || i === 2 ? cell.padStart(widths[i] as number) : cell.padEnd(widths[i] as number),
      )
      .join("  ")
      .trimEnd(),
  );
  return [
    ...aligned,
    `${data.pairCount} pairs from the same noise; 95 % intervals, all of them in the report`,
  ];
}

const WORDS = { better: "better", worse: "worse", unclear: "no clear change" } as const;

const chip = (measure: Measure): Html => {
  const found = verdict(measure);
  const sign = { better: "▲", worse: "▼", unclear: "◆" }[found];
  return html`<span class="chip ${found}">${sign} ${WORDS[found]}</span>`;
};

function headlines(data: ReportData): Html {
  const { measures, pairCount, notes = [] } = data;
  const cards = measures
    .filter(({ headline }) => headline)
    .map((measure) => {
      const { name, unit, base, spo, wins } = measure;
      if (wins) {
        return html`<li class="card"><div class="big">${written(wins.value, "share")}</div><p class="what">of ${pairCount} same-noise pairs: SPO preferred by <b>${name}</b></p><div>${chip(measure)} <span class="range">95 % interval ${writtenInterval(wins, "share")}</span></div></li>`;
      }
      return html`<li class="card"><div class="big"><span class="from">${written(base.value, unit)} →</span> ${written(spo.value, unit)}</div><p class="what"><b>${name}</b>, base → SPO; ${measure.better} is better</p><div>${chip(measure)} <span class="range">95 % intervals: base ${writtenInterval(base, unit)}, SPO ${writtenInterval(spo, unit)}</span></div></li>`;
    });
  const figures = (data.figures ?? []).map(
    ({ value, what }) =>
      html`<li class="card"><div class="big">${value}</div><p class="what">${what}</p></li>`,
  );
  const all = [...cards, ...figures];
  return html`${all.length > 0 && html`<ul class="headlines${figures.length > 0 && " figures"}">${all}</ul>`}${notes.length > 0 && html`<ul class="notes card">${notes.map((note) => html`<li>${note}</li>`)}</ul>`}`;
}

/** Two labelled rows above each other: the base, and SPO from the same noise. */
function extremes(found: Extremes | undefined): Html | undefined {
  if (!found) return undefined;
  const panel = (title: string, pairs: readonly ImagePair[]): Html => {
    const row = (which: "base" | "spo", label: string): Html =>
      html`<tr class="${which}"><th scope="row">${label}</th>${pairs.map((pair) => html`<td><img src="${dataUrl(pair[which])}" alt="${`${label}: ${pair.prompt}, seed ${pair.seed}`}"></td>`)}</tr>`;
    return html`<div class="card extreme"><h3>${title}</h3><div class="scroll"><table><caption></caption><thead><tr><th></th>${pairs.map(({ prompt }) => html`<th scope="col">${prompt}</th>`)}</tr></thead><tbody>${row("base", "base")}${row("spo", "SPO")}</tbody></table></div></div>`;
  };
  return html`<section><h2>Where it shows most, and where least</h2><p class="about">${found.about}</p>${panel("Improved most", found.most)}${panel("Improved least, or harmed", found.least)}</section>`;
}

const VIEWS = [
  ["both", "Side by side"],
  ["flicker", "Flicker"],
  ["base", "Base"],
  ["spo", "SPO"],
  ["blind", "Blind test"],
] as const;

const NOT_TRAINED =
  "Prompts of no preference pair and no round of SPO; the base knows them, and so does the CLIP that the preference model begins as or was distilled from. The two images of a pair start from the same noise; only the weights differ.";

function pictures({ pairs, pairsAbout = NOT_TRAINED }: ReportData): Html | undefined {
  if (pairs.length === 0) return undefined;
  const views = VIEWS.map(
    ([value, label], i) =>
      html`<label><input type="radio" name="view" value="${value}"${i === 0 && new Raw(" checked")}>${label}</label>`,
  );
  return html`<section id="pictures"><h2>The same noise, before and after</h2>
<p class="about">${pairsAbout}</p>
<div class="views card" role="radiogroup" aria-label="How the images are shown">${views}</div>
<p class="hint blind">Sides are shuffled and names hidden. Decide first; then point at a pair, or tab to it, to see which is which.</p>
<p class="hint flicker">Base and SPO take turns in the same place. Where less motion is asked for, point at a picture instead.</p>
<div class="gallery">${pairs.map(pairFigure)}</div></section>`;
}

function pairFigure(pair: ImagePair): Html {
  const noise = `seed ${pair.seed}${pair.image === undefined ? "" : `, image ${pair.image}`}`;
  const side = (which: "base" | "spo", label: string): Html =>
    html`<div class="side ${which}"><img src="${dataUrl(pair[which])}" alt="${`${label}: ${pair.prompt}, ${noise}`}"><span>${label}</span></div>`;
  return html`<figure class="pair card${swapped(pair) && " swap"}" tabindex="0"><div class="sides">${side("base", "base")}${side("spo", "SPO")}</div><figcaption>${pair.prompt}<span>${noise}</span></figcaption></figure>`;
}

/** Which side of the blind test is swapped, the same each time: FNV-1a of prompt and seed. */
function swapped({ prompt, seed }: ImagePair): boolean {
  let hash = 0x811c9dc5;
  for (const character of `${prompt}/${seed}`)
    hash = Math.imul(hash ^ (character.codePointAt(0) as number), 0x01000193);
  return ((hash >>> 15) & 1) === 1;
}

function numbers({ measures, pairCount, controlNote }: ReportData): Html | undefined {
  if (measures.length === 0) return undefined;
  const hasControl = measures.some(({ control }) => control);
  const cell = (estimate: Estimate | undefined, unit: Unit, className = ""): Html =>
    estimate
      ? html`<td class="${className}">${written(estimate.value, unit)}<small>${writtenInterval(estimate, unit)}</small></td>`
      : html`<td class="${className}">–</td>`;
  const rows = measures.map((measure) => {
    const { name, about, unit, base, spo, wins, control } = measure;
    return html`<tr><th scope="row">${name}<small>${about} ${measure.better === "higher" ? "Higher" : "Lower"} is better.</small></th>${cell(base, unit)}${cell(spo, unit)}${cell(wins, "share")}<td>${chip(measure)}</td>${hasControl && [cell(control?.value, unit, "control"), cell(control?.wins, "share", "control")]}</tr>`;
  });
  return html`<section><h2>The numbers</h2>
<p class="about">Each with its 95 % bootstrap interval. A score says little alone: read it beside the pictures and the on-prompt accuracy.</p>
<div class="card panel scroll"><table><caption></caption><thead><tr><th scope="col">Measure</th><th scope="col">Base</th><th scope="col">SPO</th><th scope="col">SPO better,<br>of ${pairCount} pairs</th><th scope="col">Verdict</th>${hasControl && html`<th scope="col" class="control">Random<br>labels</th><th scope="col" class="control">better,<br>of pairs</th>`}</tr></thead><tbody>${rows}</tbody></table></div>
${controlNote && html`<p class="about" style="margin-top:12px">${controlNote}</p>`}</section>`;
}

function sampleRows(all: readonly SampleRow[]): Html | undefined {
  const [first] = all;
  if (!first) return undefined;
  const heads = first.images.map(
    ({ step }) => html`<th scope="col">${step === 0 ? "base" : `round ${step}`}</th>`,
  );
  const rows = all.map(
    ({ prompt, images }) =>
      html`<tr><th scope="row">${prompt}</th>${images.map(({ step, png }) => html`<td><img src="${dataUrl(png)}" alt="${`${prompt}, round ${step}`}"></td>`)}</tr>`,
  );
  return html`<section><h2>In the course of the training</h2><p class="about">The same prompts from the same noise.</p><div class="strip card scroll"><table><caption></caption><thead><tr><th scope="col">prompt</th>${heads}</tr></thead><tbody>${rows}</tbody></table></div></section>`;
}

function strips(all: readonly Strip[]): Html | undefined {
  if (all.length === 0) return undefined;
  return html`<section><h2>How pairs are found</h2>
<p class="about">At each step several candidates are drawn from one state. The preference model scores what each would become; best and worst are a pair to learn from when they are far enough apart; a random candidate starts the next step, so that all pairs of an image share one history.</p>
<div class="strips">${all.map(({ prompt, note, rows }) => html`<div class="strip card"><h3>“${prompt}”${note && `, ${note}`}</h3><div class="scroll"><table><caption></caption><thead><tr><th scope="col">timestep</th>${(rows[0]?.images ?? []).map((_, j) => html`<th scope="col">candidate ${j + 1}</th>`)}</tr></thead><tbody>${rows.map((row) => stripRow(row, prompt))}</tbody></table></div></div>`)}</section>`;
}

function stripRow(row: StripRow, prompt: string): Html {
  const cells = row.images.map((image, j) => {
    const role = !row.valid ? "none" : j === row.win ? "win" : j === row.lose ? "lose" : "";
    const marks = [role === "win" && "▲ win", role === "lose" && "▼ lose"].filter(Boolean).join(" ");
    const score = row.scores[j] as number;
    const alt = `${prompt}, timestep ${row.timestep}, candidate ${j + 1}, score ${short(score)}${role && role !== "none" ? `, ${role}` : ""}${j === row.next ? ", goes on" : ""}`;
    return html`<td class="${role}"><img src="${dataUrl(image)}" alt="${alt}"><div class="score">${score.toFixed(2)}</div><div class="mark">${marks} ${j === row.next && html`<span class="on">● goes on</span>`}</div></td>`;
  });
  return html`<tr><th scope="row">t = ${row.timestep}${!row.valid && html`<small>too close:<br>no pair</small>`}</th>${cells}</tr>`;
}

function work(stages: readonly StageWork[]): Html | undefined {
  const shown = stages.filter(
    ({ phases, passes }) => Object.keys(phases).length + Object.keys(passes).length > 0,
  );
  if (shown.length === 0) return undefined;
  const times = shown.flatMap(({ stage, phases }) =>
    Object.entries(phases).map(
      ([phase, { wall, cpu }]) =>
        html`<tr><th scope="row">${stage}: ${phase}</th><td>${duration(wall)}</td><td>${duration(cpu)}</td></tr>`,
    ),
  );
  const passes = shown.flatMap(({ stage, passes }) =>
    Object.entries(passes)
      .filter(([, count]) => count > 0)
      .map(
        ([pass, count]) =>
          html`<tr><th scope="row">${stage}: ${PASS_NAMES[pass] ?? pass}</th><td>${count.toLocaleString("en")}</td></tr>`,
      ),
  );
  const table = (caption: string, columns: readonly string[], rows: readonly Html[]): Html | false =>
    rows.length > 0 &&
    html`<div class="card panel scroll"><table><caption></caption><thead><tr><th scope="col">${caption}</th>${columns.map((column) => html`<th scope="col">${column}</th>`)}</tr></thead><tbody>${rows}</tbody></table></div>`;
  return html`<section><h2>What it cost</h2><p class="about">CPU seconds are those of all threads together. A sample pass is one image or latent through one network; guidance takes two.</p><div class="charts">${table("Phase", ["elapsed", "CPU"], times)}${table("Sample passes", ["count"], passes)}</div></section>`;
}

function settings({ settings: stages, provenance }: ReportData): Html {
  const flat = (value: unknown, path = ""): [string, string][] =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.entries(value).flatMap(([key, inner]) => flat(inner, path ? `${path}.${key}` : key))
      : [[path, typeof value === "string" ? value : (JSON.stringify(value) ?? "")]];
  const table = (caption: string, rows: readonly [string, string][]): Html =>
    html`<div class="scroll"><table><caption>${caption}</caption><tbody>${rows.map(([key, value]) => html`<tr><th scope="row">${key}</th><td>${value}</td></tr>`)}</tbody></table></div>`;
  return html`<section><h2>Settings and provenance</h2><div class="card panel">${Object.entries(stages).map(([stage, config]) => html`<details><summary>${stage}</summary>${table(`Settings: ${stage}`, flat(config))}</details>`)}<details><summary>Versions and machine</summary>${table("Versions and machine", flat(provenance))}</details></div></section>`;
}

const dataUrl = (png: Uint8Array): string => `data:image/png;base64,${Buffer.from(png).toString("base64")}`;
