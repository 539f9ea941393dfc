// A comparison as one HTML page: it works offline, holds its images and runs no script.

import type { Estimate } from "@spo/records";
import type { Chart, Series } from "@spo/records/report";
import {
  chartSection,
  duration,
  type Html,
  html,
  htmlDocument,
  PASS_NAMES,
  short,
  type Unit,
  written,
  writtenInterval,
} from "@spo/records/report";
import type { ComparisonFacts, ShownCurve } from "./comparison-facts.js";

/** Images of the same noise in base64, by model, the base's as `base`. */
export type ComparedPictures<Encoding extends "png" | "webp"> = Readonly<
  Record<string, readonly ({ prompt: string; seed: number } & Record<Encoding, string>)[]>
>;

/** Titles of the models by name. */
type Titles = (name: string) => string;

const titlesOf =
  ({ rows }: Pick<ComparisonFacts, "rows">): Titles =>
  (name) =>
    rows.find((row) => row.name === name)?.title ?? name;

const TONES = ["third", "spo", "fourth", "fifth"] as const;

/** Of the methods, in their order. */
const toneOf = ({ rows }: Pick<ComparisonFacts, "rows">, method: string): (typeof TONES)[number] => {
  const place = rows.filter(({ name }) => name !== "base").findIndex(({ name }) => name === method);
  return TONES[place % TONES.length] as (typeof TONES)[number];
};

const GRID_STYLE = `
.compared { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 16px; }
.compared figure { padding: 10px 10px 8px; } .compared .row { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: 8px; }
.compared img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; border-radius: 8px; background: #fff; box-shadow: 0 0 0 1px var(--line); }
.compared .row span { display: block; text-align: center; font-size: .76rem; font-weight: 600; padding-top: 4px; color: var(--soft); }
.compared figcaption { font-size: .88rem; font-weight: 600; padding-top: 6px; }
`;

/** The report of `spo compare` as one self-contained HTML page. */
export function comparisonPage(facts: ComparisonFacts, pictures: ComparedPictures<"webp">): string {
  const { images, prompts, seeds } = facts.counts;
  const titleOf = titlesOf(facts);
  const [last, ...before] = facts.rows.map(({ name }) => titleOf(name)).reverse() as [string, ...string[]];
  const heading = `${before.reverse().join(", ")} and ${last}`.replace(/^base/, "Base");
  const content = html`<header><h1>${heading}</h1>
<p class="verdict">${comparisonVerdict(facts)}</p>
<p class="lead">The same model, preference pairs, prompts, engine and machine, and the same time for each method. A judge that took no part in it saw ${images} images of ${prompts} held-out prompts of each model, from the same noise; ${seeds} training runs of each method.</p>
${summary(facts)}</header>
${grid(
  pictures,
  facts.rows.map(({ name }) => name),
  titleOf,
)}
${numbers(facts)}
${measures(facts)}
${leadTable(facts)}
${chartSection(curves(facts))}
${equal(facts)}
${search(facts)}
${work(facts)}
${settings(facts)}`;
  return htmlDocument(heading, content, GRID_STYLE);
}

/** What came out, in a sentence: the judge's mean of each model, and who was preferred to whom. */
export function comparisonVerdict(facts: ComparisonFacts): string {
  const { rows, spoOverDpo } = facts;
  const titleOf = titlesOf(facts);
  const base = rows.find(({ name }) => name === "base");
  const gains = rows.flatMap(({ name, score }) =>
    name !== "base" && base ? [`${signed(score.value - base.score.value)} with ${titleOf(name)}`] : [],
  );
  const preferred =
    Math.round(100 * spoOverDpo.low) > 50
      ? "SPO is preferred to Diffusion-DPO"
      : Math.round(100 * spoOverDpo.high) < 50
        ? "Diffusion-DPO is preferred to SPO"
        : "neither is clearly preferred to the other";
  return `In the same time the judge's mean on held-out prompts changes by ${gains.join(" and by ")}; ${preferred} (SPO in ${written(spoOverDpo.value, "share")} of same-noise pairs, ${writtenInterval(spoOverDpo, "share")}).`;
}

const signed = (value: number): string => (value > 0 ? `+${short(value)}` : short(value));

/** The essence in a few lines of text, for the terminal. */
export function comparisonEssence(facts: ComparisonFacts): string[] {
  const titleOf = titlesOf(facts);
  const lines = facts.rows.map(({ name, score, wins, onPrompt, signTest }) => {
    const parts = [
      `judge ${written(score.value, "number")} (${writtenInterval(score, "number")})`,
      wins && `better than the base in ${written(wins.value, "share")} (${writtenInterval(wins, "share")})`,
      signTest && `p ${probability(signTest.byImage)}`,
      onPrompt && `on prompt ${written(onPrompt.value, "share")}`,
    ];
    return `${titleOf(name)}: ${parts.filter(Boolean).join(", ")}`;
  });
  const found = facts.leads.filter(
    ({ spending, withPreference }) => spending === facts.clock && withPreference,
  );
  return [...lines, ...found.map((lead) => leadSentence(lead, facts.clock, titleOf))];
}

const probability = (p: number): string => (p < 1e-4 ? "< 0.0001" : String(Number(p.toPrecision(2))));

function summary(facts: ComparisonFacts): Html {
  const { rows, spoOverDpo, variantsOverDpo = {}, leads, counts, clock } = facts;
  const titleOf = titlesOf(facts);
  const base = rows.find(({ name }) => name === "base");
  const cards = rows.flatMap(({ name, score, wins, signTest }) =>
    wins
      ? [
          html`<li class="card"><div class="big">${base ? signed(score.value - base.score.value) : "–"}</div><p class="what">the judge's mean: <b>${titleOf(name)}</b> less the base</p><span class="range">preferred to the base in ${written(wins.value, "share")} of same-noise pairs;</span><span class="range">95 % interval ${writtenInterval(wins, "share")}; sign test p ${probability(signTest?.byImage ?? 1)} over ${counts.images} images</span></li>`,
        ]
      : [],
  );
  const races = leads.filter(
    ({ spending, withPreference, method }) => spending === clock && withPreference && method !== "dpo",
  );
  const preferred = Object.entries({ spo: spoOverDpo, ...variantsOverDpo }).map(
    ([name, share]) =>
      html`<li class="card"><div class="big">${written(share.value, "share")}</div><p class="what">of same-noise pairs: <b>${titleOf(name)}</b> preferred to Diffusion-DPO</p><span class="range">95 % interval ${writtenInterval(share, "share")}</span></li>`,
  );
  return html`<ul class="headlines">${cards}${preferred}${races.map((race) => html`<li class="card"><div class="big">${race.lead?.ratio ? `×${short(race.lead.ratio)}` : "–"}</div><p class="what">${leadSentence(race, clock, titleOf)}</p></li>`)}</ul>`;
}

type Lead = ComparisonFacts["leads"][number];

const UNITS = { seconds: "seconds", cpuSeconds: "CPU seconds", teraFlops: "TFLOP" } as const;

function leadSentence({ method, over, lead }: Lead, spending: keyof typeof UNITS, titleOf: Titles): string {
  const [own, other] = [titleOf(method), titleOf(over)];
  const unit = UNITS[spending];
  if (!lead) return `${other} is never better than the base: no time of ${own} can be compared with it.`;
  if (lead.own === undefined)
    return `${own} is not as good as ${other} at its best within ${short(lead.spent ?? 0)} ${unit}; ${other} is after ${short(lead.other)}.`;
  return `${own} is as good after ${short(lead.own)} ${unit} as ${other} at its best, after ${short(lead.other)}.`;
}

function numbers({ rows, counts }: ComparisonFacts): Html {
  const cell = (estimate: Estimate | undefined, unit: Unit): Html =>
    estimate
      ? html`<td>${written(estimate.value, unit)}<small>${writtenInterval(estimate, unit)}</small></td>`
      : html`<td>–</td>`;
  const lines = rows.map(
    ({ name, title, score, wins, signTest, onPrompt, onPromptChange, seeds }) =>
      html`<tr><th scope="row">${title ?? name}${seeds && html`<small>${seeds.map(({ seed, wins: won }) => `seed ${seed}: ${written(won, "share")}`).join(" · ")}</small>`}</th>${cell(score, "number")}${cell(wins, "share")}<td>${signTest ? probability(signTest.byImage) : "–"}${signTest && html`<small>by prompt ${probability(signTest.byPrompt)}</small>`}</td>${cell(onPrompt, "share")}${cell(onPromptChange, "share")}</tr>`,
  );
  return html`<section><h2>The numbers</h2>
<p class="about">Each with its 95 % bootstrap interval over prompts. Of each run the checkpoint that another judge likes best on the training prompts. The sign test takes each image's mean over the ${counts.seeds} runs (${counts.images} images), and each prompt's (${counts.prompts}).</p>
<div class="card panel scroll"><table><caption></caption><thead><tr><th scope="col">Model</th><th scope="col">Judge</th><th scope="col">Better than<br>the base</th><th scope="col">Sign test, p</th><th scope="col">On prompt</th><th scope="col">On prompt,<br>less the base</th></tr></thead><tbody>${lines}</tbody></table></div></section>`;
}

/** In the order of the table. */
const MEASURES = {
  diversity: "Diversity",
  saturation: "Saturation",
  contrast: "Contrast",
  highFrequency: "Fine detail",
} as const satisfies Record<keyof NonNullable<ComparisonFacts["rows"][number]["measures"]>, string>;

/** Nothing for a comparison from before images were measured. */
function measures({ rows }: ComparisonFacts): Html {
  const names = Object.keys(MEASURES) as (keyof typeof MEASURES)[];
  const lines = rows.flatMap(({ name, title, measures: found }) =>
    found
      ? [
          html`<tr><th scope="row">${title ?? name}</th>${names.map((measure) => html`<td>${written(found[measure].value, "number")}<small>${writtenInterval(found[measure], "number")}</small></td>`)}</tr>`,
        ]
      : [],
  );
  if (lines.length === 0) return html``;
  return html`<section><h2>What else changed</h2>
<p class="about">What a judge that is being fooled would show: one picture for all seeds of a prompt, or a common push of colour, contrast or edges. Diversity: mean distance between two images of a prompt, root of the mean squared difference of pixels from −1 to 1. Saturation: a pixel's largest less its smallest channel. Contrast: standard deviation of an image's luma. Fine detail: mean square of luma less that of its neighbours. 95 % bootstrap intervals over prompts.</p>
<div class="card panel scroll"><table><caption></caption><thead><tr><th scope="col">Model</th>${names.map((name) => html`<th scope="col">${MEASURES[name]}</th>`)}</tr></thead><tbody>${lines}</tbody></table></div></section>`;
}

function leadTable(facts: ComparisonFacts): Html {
  const { leads, clock } = facts;
  const titleOf = titlesOf(facts);
  const ratio = (value: number | null | undefined): string =>
    value === undefined ? "–" : value === null ? "never" : `×${short(value)}`;
  const row = (found: Lead): Html => {
    const { method, over, spending, withPreference, lead, bySeed } = found;
    const what = `${titleOf(method)} as good as ${titleOf(over)} at its best`;
    const pref = withPreference ? "with the preference model" : "without it";
    return html`<tr><th scope="row">${what}<small>${UNITS[spending]}, ${pref}</small></th><td>${lead ? short(lead.other) : "–"}</td><td>${lead ? (lead.own === undefined ? "never" : short(lead.own)) : "–"}</td><td>${lead ? ratio(lead.ratio ?? null) : "–"}</td><td>${bySeed.map(ratio).join(" · ")}</td></tr>`;
  };
  // Two rows answer the question; the other clocks and the variant without the preference model are details.
  const isMain = ({ spending, withPreference }: Lead): boolean => spending === clock && withPreference;
  const table = (shown: readonly Lead[]): Html =>
    html`<div class="card panel scroll"><table><caption></caption><thead><tr><th scope="col">Who</th><th scope="col">The other<br>spent</th><th scope="col">It spent</th><th scope="col">Ratio</th><th scope="col">By seed</th></tr></thead><tbody>${shown.map(row)}</tbody></table></div>`;
  const others = leads.filter((lead) => !isMain(lead));
  return html`<section><h2>Which method gets there first</h2>
<p class="about">What one method spends until it is as good, by the mean of its runs, as the other ever is; and the ratio of both. Above 1, it is sooner. “Never”: not within its time. A method that is never better than the base gives nothing to compare with. Seconds are of training alone, elapsed or of all threads: measuring and saving do not count.</p>
${table(leads.filter(isMain))}${others.length > 0 && html`<details><summary>By other clocks, and without the preference model</summary>${table(others)}</details>`}</section>`;
}

function curves(facts: ComparisonFacts): Parameters<typeof chartSection>[0] {
  const { curves: all, rows, runs, clock } = facts;
  const titleOf = titlesOf(facts);
  const start = all[0]?.points[0]?.quality ?? rows[0]?.score.value ?? 0;
  const series = ({ method, points }: ShownCurve): Series => ({
    name: titleOf(method),
    tone: toneOf(facts, method),
    points: points.map(({ x, quality, low, high }) => ({ x, y: quality, low, high })),
  });
  const chart = (
    title: string,
    caption: string,
    label: string,
    pick: (curve: ShownCurve) => boolean,
  ): Chart => ({
    title,
    caption,
    kind: "line",
    x: { label },
    y: { label: "judge" },
    series: all.filter(pick).map(series),
    reference: { y: start, label: "base" },
  });
  const whole = (spending: ShownCurve["spending"]) => (curve: ShownCurve) =>
    curve.spending === spending && curve.withPreference;
  const own = (curve: ShownCurve): boolean =>
    curve.spending === clock && (curve.method === "dpo" || !curve.withPreference);
  const onPrompt = Object.entries(runs).map(
    ([method, own]): Series => ({
      name: titleOf(method),
      tone: toneOf(facts, method),
      points: (own[0]?.checkpoints ?? []).map((_, i) => {
        const at = own.flatMap((run) => run.checkpoints[i] ?? []);
        const values = at.map((checkpoint) => checkpoint.onPrompt ?? Number.NaN);
        const mean = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0) / list.length;
        return {
          x: mean(at.map((checkpoint) => checkpoint[clock])),
          y: mean(values),
          low: Math.min(...values),
          high: Math.max(...values),
        };
      }),
    }),
  );
  return {
    title: "Quality over what was spent",
    about:
      "The judge's mean on held-out prompts at each checkpoint: the mean of the runs, and a band from the least to the best of them. SPO begins where its preference model is trained; before, it is the base.",
    charts: [
      chart(
        "Over time",
        "Seconds of training, the preference model's among SPO's.",
        UNITS[clock],
        whole(clock),
      ),
      chart(
        "Over work",
        "Floating-point operations of all counted passes, the preference model's among SPO's.",
        "TFLOP",
        whole("teraFlops"),
      ),
      chart(
        "Over time, a preference model at hand",
        "The same without the seconds of the preference model: one model serves many trainings.",
        UNITS[clock],
        own,
      ),
      {
        title: "On prompt",
        caption: "Share of images that show what they were asked for; seconds of the method's own training.",
        kind: "line",
        x: { label: UNITS[clock] },
        y: { label: "on prompt", share: true },
        series: onPrompt,
      },
    ],
  };
}

function grid(
  pictures: ComparedPictures<"webp">,
  models: readonly string[],
  titleOf: Titles,
): Html | undefined {
  const { base = [] } = pictures;
  if (base.length === 0) return undefined;
  const figures = base.map(({ prompt, seed }, i) => {
    const side = (which: string): Html | undefined => {
      const picture = pictures[which]?.[i];
      return (
        picture &&
        html`<div><img src="data:image/webp;base64,${picture.webp}" alt="${`${titleOf(which)}: ${prompt}, seed ${seed}`}"><span>${titleOf(which)}</span></div>`
      );
    };
    return html`<figure class="card"><div class="row">${models.map(side)}</div><figcaption>${prompt}</figcaption></figure>`;
  });
  return html`<section id="pictures"><h2>The same noise</h2><p class="about">Held-out prompts: of no pair that is trained on and of no training; the base may know them, and so may the scorer that the preference model begins as. Each row starts from the same noise. Of the trained models the chosen checkpoint of the first seed. The first images of each prompt, none left out.</p><div class="compared">${figures}</div></section>`;
}

function equal(facts: ComparisonFacts): Html {
  const { atEqual, rows, clock } = facts;
  const titleOf = titlesOf(facts);
  const models = rows.map(({ name }) => name);
  const table = (unit: keyof typeof UNITS): Html =>
    html`<div class="card panel scroll"><table><caption></caption><thead><tr><th scope="col">${UNITS[unit]}</th>${models.map((model) => html`<th scope="col">${titleOf(model)}</th>`)}</tr></thead><tbody>${atEqual[unit].map((place) => html`<tr><th scope="row">${short(place.x)}</th>${models.map((model) => html`<td>${short(place[model] ?? Number.NaN)}</td>`)}</tr>`)}</tbody></table></div>`;
  return html`<section><h2>At equal cost</h2><p class="about">The judge's mean when all methods have spent the same, the preference model's part among SPO's.</p><div class="charts">${table(clock)}${table("teraFlops")}</div></section>`;
}

function search(facts: ComparisonFacts): Html {
  const { trials, baseValidation, clock } = facts;
  const titleOf = titlesOf(facts);
  const table = ([method, tried]: [string, ComparisonFacts["trials"][string]]): Html =>
    html`<div class="card panel scroll"><table><caption></caption><thead><tr><th scope="col">${titleOf(method)}</th><th scope="col">validator: a line a run, its checkpoints</th></tr></thead><tbody>${tried.map(({ settings: own, isChosen, runs }) => html`<tr><th scope="row">${words(own)}${isChosen && html`<small>chosen</small>`}</th><td>${runs.map((run) => html`<div>${run.map(({ validation }) => short(validation)).join(" · ")}<small>after ${run.map((checkpoint) => duration(checkpoint[clock])).join(" · ")}</small></div>`)}</td></tr>`)}</tbody></table></div>`;
  return html`<section><h2>How the settings were chosen</h2><p class="about">The same number of trials for each method, of the same time, from seeds of their own; chosen by the best checkpoint to another judge, on the training prompts, in the mean over a trial's runs. The base has ${short(baseValidation)} there.</p><div class="charts">${Object.entries(trials).map(table)}</div></section>`;
}

const flat = (value: unknown, path = ""): [string, string][] =>
  typeof value === "object" && value !== null && !Array.isArray(value)
    ? Object.entries(value).flatMap(([key, inner]) => flat(inner, path ? `${path}.${key}` : key))
    : [[path, typeof value === "string" ? value : (JSON.stringify(value) ?? "")]];

const words = (tried: object): string =>
  flat(tried)
    .map(([key, value]) => `${key} ${value}`)
    .join(", ") || "the common settings";

function work({ work: stages }: ComparisonFacts): Html {
  const times = stages.map(
    ({ stage, seconds, cpuSeconds, teraFlops }) =>
      html`<tr><th scope="row">${stage}</th><td>${duration(seconds)}</td><td>${duration(cpuSeconds)}</td><td>${short(teraFlops)}</td></tr>`,
  );
  const names = [...new Set(stages.flatMap(({ passes }) => Object.keys(passes)))];
  // A pass of one kind costs the same in all stages, but for those of preference models of several kinds.
  const flopsOf = (pass: string): string => {
    const found = stages.flatMap(({ passes: counted, flopsOfPasses }) =>
      counted[pass] ? [(flopsOfPasses as Record<string, number>)[pass] as number] : [],
    );
    return [...new Set(found.map(short))].join(" · ");
  };
  const passes = names.map(
    (pass) =>
      html`<tr><th scope="row">${PASS_NAMES[pass] ?? pass}</th><td>${flopsOf(pass)}</td>${stages.map(({ passes: counted }) => html`<td>${(counted[pass] ?? 0).toLocaleString("en")}</td>`)}</tr>`,
  );
  return html`<section><h2>What it cost</h2><p class="about">A final run's mean over the seeds. Work is counted by the engine, pass by pass of one image or latent through one network; guidance takes two. The FLOP of a pass are those of its convolutions, matrix products and attention, found from the models' shapes.</p><div class="card panel scroll"><table><caption></caption><thead><tr><th scope="col">Stage</th><th scope="col">elapsed</th><th scope="col">CPU</th><th scope="col">TFLOP</th></tr></thead><tbody>${times}</tbody></table></div><div class="card panel scroll" style="margin-top:16px"><table><caption></caption><thead><tr><th scope="col">Sample passes</th><th scope="col">FLOP of one</th>${stages.map(({ stage }) => html`<th scope="col">${stage}</th>`)}</tr></thead><tbody>${passes}</tbody></table></div></section>`;
}

function settings({ settings: stages, config, provenance }: ComparisonFacts): Html {
  const table = (caption: string, value: object): Html =>
    html`<details><summary>${caption}</summary><div class="scroll"><table><caption>${caption}</caption><tbody>${flat(value).map(([key, text]) => html`<tr><th scope="row">${key}</th><td>${text}</td></tr>`)}</tbody></table></div></details>`;
  return html`<section><h2>Settings and provenance</h2><div class="card panel">${Object.entries(stages).map(([stage, value]) => table(stage, value))}${table("The comparison", config)}${table("Versions and machine", provenance)}</div></section>`;
}
