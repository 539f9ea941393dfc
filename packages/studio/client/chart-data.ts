// What a chart draws.
import type { AlignedData } from "uplot";
import { short } from "./words.ts";

/** A curve: a run's metric. */
export interface Curve {
  name: string;
  x: readonly number[];
  y: readonly (number | null)[];
  /** Drawn strongly above the points, which are then faint. */
  smooth?: readonly (number | null)[];
}

/** The first and the last value of each curve, for those who do not see it. */
export function described(title: string, curves: readonly Curve[]): string {
  const words = curves.map(({ name, y, smooth }) => {
    const known = (smooth ?? y).filter((value) => value !== null);
    return `${name} from ${known[0] ?? "nothing"} to ${known.at(-1) ?? "nothing"}`;
  });
  return `${title}: ${words.join("; ")}`;
}

/** All curves over the places of all: uPlot wants one axis. On a logarithmic axis only what is above 0 has a place. */
export function alignedData(curves: readonly Curve[], log: boolean): AlignedData {
  const x = [...new Set(curves.flatMap((curve) => curve.x))].sort((a, b) => a - b);
  const place = new Map(x.map((value, i) => [value, i]));
  const spread = (
    at: readonly number[],
    values: readonly (number | null)[],
  ): (number | null | undefined)[] => {
    const row = new Array<number | null | undefined>(x.length); // undefined: no gap, only no point
    for (const [i, value] of values.entries())
      row[place.get(at[i] as number) as number] = log && value !== null && value <= 0 ? null : value;
    return row;
  };
  const rows = curves.flatMap(({ x: at, y, smooth }) => [
    spread(at, y),
    ...(smooth ? [spread(at, smooth)] : []),
  ]);
  return [x, ...rows] as AlignedData;
}

/** The words at a chart's lines: as short as they can be and still differ, so that a curve close to 1 is not between 1 and 1. */
export function tickLabels(splits: readonly (number | null)[]): string[] {
  const words = splits.map((value) => (value === null ? "" : short(value)));
  const known = splits.filter((value) => value !== null);
  if (new Set(words.filter(Boolean)).size === known.length) return words;
  const gap = Math.min(...known.slice(1).map((value, i) => Math.abs(value - (known[i] as number))));
  const fits = (digits: number): boolean =>
    known.every((value) => Math.abs(Number(value.toFixed(digits)) - value) < gap / 100);
  let digits = 0;
  while (digits < 15 && !fits(digits)) digits++;
  return splits.map((value) => (value === null ? "" : value.toFixed(digits)));
}
