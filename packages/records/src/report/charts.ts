// Charts as SVG text: pure functions of their data. Colours are CSS variables of the page, so that light and dark need no second chart.
import { type Html, html } from "./html.js";
import { short } from "./numbers.js";

/** Colours by meaning: the same thing has the same colour in every chart. */
export type Tone = "base" | "spo" | "third" | "fourth" | "fifth" | "win" | "lose";

/** One point of a chart. */
export interface Point {
  x: number;
  y: number;
  /** Bounds of an interval, drawn as a band. */
  low?: number;
  high?: number;
}

/** One line, row of bars or cloud of points of a chart. */
export interface Series {
  name: string;
  tone: Tone;
  points: readonly Point[];
  /** Drawn faintly, with its moving average on top. */
  noisy?: boolean;
}

/** An axis of a chart. */
export interface Axis {
  label: string;
  /** Without it, from the data. */
  domain?: readonly [number, number];
  share?: boolean;
  /** From large to small, as timesteps run while an image is made. */
  reversed?: boolean;
}

/** A chart as data; `chart` draws it. */
export interface Chart {
  title: string;
  /** What there is to see, in a sentence. */
  caption: string;
  kind: "line" | "bar" | "scatter";
  x: Axis;
  y: Axis;
  series: readonly Series[];
  /** A dashed line to compare with; its name stands in the legend, where no curve crosses it. */
  reference?: { y: number; label: string };
}

const WIDTH = 520;
const HEIGHT = 270;
/** Least room for the labels of the y axis, and of each of their letters at the size that a phone shows. */
const LEFT = 52;
const LETTER = 8.5;
const RIGHT = 16;
const TOP = 14;
const BOTTOM = 44;

/** The drawing alone. */
export function chartSvg(chart: Chart): Html {
  const points = chart.series.flatMap((series) =>
    series.points.filter(({ x, y }) => Number.isFinite(x) && Number.isFinite(y)),
  );
  if (points.length === 0) return html`<p class="empty">No data.</p>`;
  const bars = chart.kind === "bar";
  const xDomain =
    chart.x.domain ??
    padded(
      points.map(({ x }) => x),
      0,
    );
  const wantedY = points.flatMap(({ y, low, high }) => [y, low ?? y, high ?? y]);
  if (chart.reference) wantedY.push(chart.reference.y);
  if (bars) wantedY.push(0);
  const yTicks = ticks(chart.y.domain ?? yRange(wantedY, chart.y), 5);
  const yDomain = chart.y.domain ?? [
    Math.min(yTicks[0] as number, ...wantedY),
    Math.max(yTicks.at(-1) as number, ...wantedY),
  ];
  const label = (axis: Axis, value: number): string =>
    axis.share ? `${short(100 * value)} %` : tickText(value);
  const longest = Math.max(...yTicks.map((y) => label(chart.y, y).length));
  const left = Math.max(LEFT, Math.ceil(12 + LETTER * longest));
  const slots = [...new Set(points.map(({ x }) => x))].sort((a, b) => a - b);
  const slot = (WIDTH - left - RIGHT) / Math.max(1, slots.length);
  const along = (x: number): number =>
    bars ? (slots.indexOf(x) + 0.5) / slots.length : (x - xDomain[0]) / (xDomain[1] - xDomain[0] || 1);
  const px = (x: number): number =>
    left + (chart.x.reversed ? 1 - along(x) : along(x)) * (WIDTH - left - RIGHT);
  const py = (y: number): number =>
    TOP + (1 - (y - yDomain[0]) / (yDomain[1] - yDomain[0] || 1)) * (HEIGHT - TOP - BOTTOM);
  const whole = points.every(({ x }) => Number.isInteger(x)); // updates are whole numbers
  const xTicks = bars
    ? every(slots, Math.ceil(slots.length / 12))
    : ticks(xDomain, 6).filter((x) => x >= xDomain[0] && x <= xDomain[1] && (!whole || Number.isInteger(x)));

  const grid = yTicks
    .filter((y) => y >= yDomain[0] && y <= yDomain[1])
    .map(
      (y) =>
        html`<line class="grid" x1="${left}" x2="${WIDTH - RIGHT}" y1="${fixed(py(y))}" y2="${fixed(py(y))}"/><text class="tick" x="${left - 8}" y="${fixed(py(y) + 4)}" text-anchor="end">${label(chart.y, y)}</text>`,
    );
  const feet = xTicks.map(
    (x) =>
      html`<text class="tick" x="${fixed(px(x))}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${label(chart.x, x)}</text>`,
  );
  const reference =
    chart.reference &&
    html`<line class="reference" x1="${left}" x2="${WIDTH - RIGHT}" y1="${fixed(py(chart.reference.y))}" y2="${fixed(py(chart.reference.y))}"/>`;
  const marks = chart.series.map((series, i) => {
    const kept = series.points.filter(({ x, y }) => Number.isFinite(x) && Number.isFinite(y));
    if (chart.kind === "line") return lines(series, kept, px, py);
    if (bars) return barsOf(series, kept, { i, of: chart.series.length, slot }, px, py);
    return kept.map(
      ({ x, y }) =>
        html`<circle class="dot ${series.tone}" cx="${fixed(px(x))}" cy="${fixed(py(y))}" r="3"/>`,
    );
  });
  return html`<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${`${chart.title}. ${chart.caption}`}">${grid}${feet}<text class="axis" x="${(left + WIDTH - RIGHT) / 2}" y="${HEIGHT - 6}" text-anchor="middle">${chart.x.label}</text>${reference}${marks}</svg>`;
}

function lines(
  { tone, noisy }: Series,
  points: readonly Point[],
  px: (x: number) => number,
  py: (y: number) => number,
): Html {
  const path = (of: readonly Point[]): string =>
    of.map(({ x, y }, i) => `${i ? "L" : "M"}${fixed(px(x))} ${fixed(py(y))}`).join("");
  const edge = (of: readonly Point[], side: "low" | "high"): string =>
    of.map((point) => `${fixed(px(point.x))},${fixed(py(point[side] ?? point.y))}`).join(" ");
  const band =
    points.some(({ low }) => low !== undefined) &&
    html`<polygon class="band ${tone}" points="${edge(points, "high")} ${edge([...points].reverse(), "low")}"/>`;
  if (noisy && points.length > 20) {
    return html`${band}<path class="faint ${tone}" d="${path(thinned(points))}"/><path class="line ${tone}" d="${path(thinned(smoothed(points)))}"/>`;
  }
  const dots =
    points.length <= 12 &&
    points.map(
      ({ x, y }) => html`<circle class="dot ${tone}" cx="${fixed(px(x))}" cy="${fixed(py(y))}" r="3.5"/>`,
    );
  return html`${band}<path class="line ${tone}" d="${path(thinned(points))}"/>${dots}`;
}

function barsOf(
  { tone }: Series,
  points: readonly Point[],
  { i, of, slot }: { i: number; of: number; slot: number },
  px: (x: number) => number,
  py: (y: number) => number,
): Html[] {
  const width = (slot * 0.72) / of;
  return points.map(({ x, y }) => {
    const left = px(x) - slot * 0.36 + i * width;
    return html`<rect class="bar ${tone}" x="${fixed(left)}" width="${fixed(Math.max(1, width - 1.5))}" y="${fixed(Math.min(py(y), py(0)))}" height="${fixed(Math.abs(py(y) - py(0)))}" rx="2"/>`;
  });
}

/** Centred moving average over a twentieth of the points. */
export function smoothed(points: readonly Point[]): Point[] {
  const reach = Math.max(1, Math.round(points.length / 40));
  return points.map(({ x }, i) => {
    const window = points.slice(Math.max(0, i - reach), i + reach + 1);
    return { x, y: window.reduce((sum, { y }) => sum + y, 0) / window.length };
  });
}

/** At most about `most` points; of each group its lowest and highest, so that no peak is lost. */
export function thinned(points: readonly Point[], most = 600): readonly Point[] {
  if (points.length <= most) return points;
  const size = Math.ceil((2 * points.length) / most);
  const kept: Point[] = [];
  for (let start = 0; start < points.length; start += size) {
    const group = points.slice(start, start + size).map((point, i) => ({ point, i }));
    const byHeight = [...group].sort((a, b) => a.point.y - b.point.y);
    const ends = new Set([byHeight[0], byHeight.at(-1)]);
    kept.push(...group.filter((entry) => ends.has(entry)).map(({ point }) => point));
  }
  return kept;
}

/** Round numbers that cover the domain, about `count` of them. */
export function ticks([low, high]: readonly [number, number], count: number): number[] {
  const raw = (high - low || Math.abs(high) || 1) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = ([1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw * 0.999) as number) * power;
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** A share stays in [0, 1]; values that are never negative get no axis below 0. */
function yRange(values: readonly number[], { share }: Axis): [number, number] {
  const [low, high] = padded(values, 0.04);
  const least = values.every((value) => value >= 0) ? Math.max(0, low) : low;
  return share && values.every((value) => value <= 1) ? [least, Math.min(1, high)] : [least, high];
}

function padded(values: readonly number[], share: number): [number, number] {
  const low = values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const high = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const pad = (high - low) * share;
  return low === high
    ? [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2]
    : [low - pad, high + pad];
}

/** Ticks are round numbers: written out where that is short, so that close ones differ. */
function tickText(value: number): string {
  const text = String(value).replace("-", "−");
  return Math.abs(value) < 1000 && text.length <= 8 ? text : short(value);
}

const every = <T>(items: readonly T[], n: number): T[] => items.filter((_, i) => i % n === 0);

const fixed = (value: number): string => String(Number(value.toFixed(1)));
