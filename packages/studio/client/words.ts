// Numbers and times in words.

const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });

/** A number with the figures that matter. */
export function short(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e7) ? value.toExponential(2) : number.format(value);
}

/** Seconds as `12 s`, `3 min`, `2 h 5 min`. */
export function duration(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 100) return `${short(Number(seconds.toPrecision(3)))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Bytes as `512 MB`. */
export function size(bytes: number): string {
  const unit = Math.min(3, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return `${number.format(Number((bytes / 1000 ** unit).toPrecision(3)))} ${["B", "kB", "MB", "GB"][unit]}`;
}

/** A time as this browser's people write it. */
export function when(iso: string): string {
  const at = new Date(iso);
  return Number.isNaN(at.getTime())
    ? "–"
    : at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

/** A setting's value in one line. */
export const setting = (value: unknown): string =>
  value === undefined ? "nothing" : typeof value === "string" ? value : JSON.stringify(value);

/** A share in percent, to two digits: `0.42 %`. */
export const sharePercent = (share: number): string => `${Number((100 * share).toPrecision(2))} %`;
