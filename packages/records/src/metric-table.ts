// The metrics of a run as one table, for other programs.
import type { Event } from "./events.js";

/** Columns by name, all of one length; null where an event does not have it. */
export interface MetricTable {
  /** `step` of an update, `eval` of a measurement. */
  type: string[];
  step: number[];
  /** ISO 8601. */
  at: string[];
  /** Not finite: NaN. */
  metrics: Map<string, (number | null)[]>;
}

/** A row for each update and each measurement, in the order of the log. */
export function metricTable(events: readonly Event[]): MetricTable {
  const rows = events.filter((event) => event.type === "step" || event.type === "eval");
  const names = new Set(rows.flatMap(({ metrics }) => Object.keys(metrics)));
  const cell = (metrics: Record<string, number | null>, name: string): number | null =>
    Object.hasOwn(metrics, name) ? (metrics[name] ?? Number.NaN) : null;
  return {
    type: rows.map(({ type }) => type),
    step: rows.map(({ step }) => step),
    at: rows.map(({ time }) => time.at),
    metrics: new Map([...names].map((name) => [name, rows.map(({ metrics }) => cell(metrics, name))])),
  };
}

/** The table as CSV with a head. Source: RFC 4180. A name that a spreadsheet would compute is quoted with `'`. */
export function csvOf({ type, step, at, metrics }: MetricTable): string {
  const head = ["type", "step", "at", ...[...metrics.keys()].map(inert)];
  const rows = type.map((of, i) => [of, step[i], at[i], ...[...metrics.values()].map((column) => column[i])]);
  return [head, ...rows].map((row) => `${row.map(csvCell).join(",")}\r\n`).join("");
}

const inert = (name: string): string => (/^[=+\-@\t\r]/.test(name) ? `'${name}` : name);

function csvCell(value: string | number | null | undefined): string {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
