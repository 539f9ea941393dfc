// Charts as sections of a page, each with its numbers as a table.
import { type Chart, chartSvg } from "./charts.js";
import type { ChartGroup } from "./data.js";
import { type Html, html } from "./html.js";
import { short, written } from "./numbers.js";

/** Charts that belong together, with their heading. */
export function chartSection({ title, about, charts }: ChartGroup): Html | undefined {
  if (charts.length === 0) return undefined;
  return html`<section><h2>${title}</h2><p class="about">${about}</p><div class="charts">${charts.map(chartFigure)}</div></section>`;
}

function chartFigure(chart: Chart): Html {
  const names = chart.series.length > 1 || chart.reference ? chart.series : [];
  const legend =
    names.length > 0 &&
    html`<ul class="legend">${names.map(({ name, tone }) => html`<li class="${tone}">${name}</li>`)}${chart.reference && html`<li class="dashed">${chart.reference.label}</li>`}</ul>`;
  return html`<figure class="chart card"><h3>${chart.title}</h3><figcaption>${chart.caption}</figcaption>${legend}${chartSvg(chart)}${chartTable(chart)}</figure>`;
}

/** The chart's numbers as a table, for people who cannot see it or want more figures; of long series every nth. */
function chartTable({ title, x, y, series }: Chart): Html | undefined {
  const places = [...new Set(series.flatMap(({ points }) => points.map((point) => point.x)))].sort(
    (a, b) => a - b,
  );
  if (places.length === 0) return undefined;
  const shown = places.filter((_, i) => i % Math.ceil(places.length / 20) === 0);
  const value = (points: readonly { x: number; y: number }[], at: number): string => {
    const found = points.find((point) => point.x === at);
    return found && Number.isFinite(found.y) ? (y.share ? written(found.y, "share") : short(found.y)) : "–";
  };
  return html`<details><summary>Numbers</summary><div class="scroll"><table><caption>${title}</caption><thead><tr><th scope="col">${x.label}</th>${series.map(({ name }) => html`<th scope="col">${name}</th>`)}</tr></thead><tbody>${shown.map((at) => html`<tr><th scope="row">${short(at)}</th>${series.map(({ points }) => html`<td>${value(points, at)}</td>`)}</tr>`)}</tbody></table></div></details>`;
}
