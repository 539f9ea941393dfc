// How numbers are written in reports and on the terminal.
import type { Estimate } from "../statistics.js";

/** A share in percent, a time in words, or a plain number. */
export type Unit = "share" | "number";

const THIN = "\u202f"; // narrow no-break space

/** A figure as reports write it: a share in percent, else a short number. */
export function written(value: number, unit: Unit): string {
  return unit === "share" ? `${percent(value)}${THIN}%` : short(value);
}

/** `64–77 %`. */
export function writtenInterval({ low, high }: Pick<Estimate, "low" | "high">, unit: Unit): string {
  const to = low < 0 ? " to " : "–"; // a dash after a minus sign is hard to read
  return unit === "share"
    ? `${percent(low)}${to}${percent(high)}${THIN}%`
    : `${short(low)}${to}${short(high)}`;
}

const percent = (share: number): string => {
  const value = 100 * share;
  const digits = Math.abs(value) >= 10 || value === 0 ? 0 : 1;
  return minus(value.toFixed(digits));
};

/** Three figures that matter. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return minus(value.toExponential(1));
  if (size >= 1000) return minus(Math.round(value).toLocaleString("en"));
  return minus(String(Number(value.toPrecision(3))));
}

const minus = (text: string): string => text.replace("-", "−");

/** Seconds in words, e.g. `7.3 s`, `12 min`, `2 h 5 min`. */
export function duration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)}${THIN}s`;
  if (seconds < 100) return `${Math.round(seconds)}${THIN}s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 100
    ? `${minutes}${THIN}min`
    : `${Math.floor(minutes / 60)}${THIN}h ${minutes % 60}${THIN}min`;
}
