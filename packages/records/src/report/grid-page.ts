// A grid of pictures as one HTML page: what changes along its sides, and what all of it was made with.
import { z } from "zod";
import { type Html, html } from "./html.js";
import { htmlDocument } from "./html-document.js";

/** `grid.json`: the sides of a grid and its pictures, which lie beside it. */
export const GridFile = z.object({
  schema: z.literal("spo.grid/1"),
  /** One to three: columns, rows, and grids one below the other. */
  axes: z
    .array(z.object({ name: z.string(), values: z.array(z.string()).min(1).max(1000) }))
    .min(1)
    .max(3),
  images: z
    .array(
      z.object({
        /** Beside this file. */
        file: z.string(),
        /** The number of its value on each side. */
        at: z.array(z.int().min(0)),
        /** All that it was made with. */
        parameters: z.record(z.string(), z.unknown()),
      }),
    )
    .max(100_000),
});
/** The content of a `grid.json`. */
export type GridFile = z.output<typeof GridFile>;

/** Its name in the folder of its pictures. */
export const GRID = "grid.json";

/** pngOf: the bytes of a picture by its file. */
export function gridPage({ axes, images }: GridFile, pngOf: (file: string) => Uint8Array): string {
  const [columns, rows = NONE, grids = NONE] = axes;
  const cell = (at: readonly number[]): Html => {
    const found = images.find((image) => axes.every((_, side) => image.at[side] === at[side]));
    if (!found) return html`<td></td>`;
    const words = axes.map(({ name, values }, side) => `${name} ${values[at[side] as number]}`).join(", ");
    const data = Buffer.from(pngOf(found.file)).toString("base64");
    return html`<td><img src="data:image/png;base64,${data}" alt="${words}"></td>`;
  };
  const tables = grids.values.map(
    (value, z) => html`<section>${grids !== NONE && html`<h2>${grids.name}: ${value}</h2>`}
<div class="strip card scroll"><table><caption></caption><thead><tr><th scope="col">${rows === NONE ? "" : rows.name}</th>${columns?.values.map((x) => html`<th scope="col">${columns.name} ${x}</th>`)}</tr></thead>
<tbody>${rows.values.map((row, y) => html`<tr><th scope="row">${row}</th>${columns?.values.map((_, x) => cell([x, y, z]))}</tr>`)}</tbody></table></div></section>`,
  );
  const sides = axes.map(({ name }) => name).join(" × ");
  const shared = sharedParameters(images.map(({ parameters }) => parameters));
  const settings = Object.entries(shared).map(
    ([name, value]) =>
      html`<tr><th scope="row">${name}</th><td>${typeof value === "string" ? value : JSON.stringify(value)}</td></tr>`,
  );
  const content = html`<header><h1>Pictures by ${sides}</h1><p class="lead">${images.length} pictures; all else is the same.</p></header>
${tables}
<section><h2>What all were made with</h2><div class="card panel scroll"><table><caption></caption><tbody>${settings}</tbody></table></div></section>`;
  return htmlDocument(
    `Pictures by ${sides}`,
    content,
    // All of one width, however long the words above them are: who compares pictures wants them alike.
    ".strip td img{width:clamp(96px,22vw,512px)}.strip thead th{max-width:clamp(96px,22vw,512px);white-space:normal;overflow-wrap:anywhere}",
  );
}

/** A side that there is not. */
const NONE = { name: "", values: [""] };

/** Those that all pictures have alike. */
function sharedParameters(all: readonly Readonly<Record<string, unknown>>[]): Record<string, unknown> {
  const [first = {}, ...rest] = all;
  const alike = ([name, value]: [string, unknown]): boolean =>
    rest.every((each) => JSON.stringify(each[name]) === JSON.stringify(value));
  return Object.fromEntries(Object.entries(first).filter(alike));
}
