// Metrics of a run as columns of numbers: a million updates take as many times eight bytes, and are thinned in one pass.
import type { MetricSeries } from "../api.js";

/** Numbers that are appended to. */
class Column {
  #values = new Float64Array(64);
  length = 0;

  push(value: number): void {
    if (this.length === this.#values.length) {
      const larger = new Float64Array(2 * this.length);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.length++] = value;
  }

  get values(): Float64Array {
    return this.#values.subarray(0, this.length);
  }
}

/** Rows of named numbers; a name that comes late has none before. */
export class Columns {
  readonly #x = new Column();
  readonly #columns = new Map<string, Column>();

  /** Names in the order of their coming. */
  get keys(): string[] {
    return [...this.#columns.keys()];
  }

  get rows(): number {
    return this.#x.length;
  }

  push(x: number, row: Readonly<Record<string, number | null>>): void {
    for (const [key, value] of Object.entries(row)) {
      const column = this.#columns.get(key) ?? new Column();
      this.#columns.set(key, column);
      while (column.length < this.#x.length) column.push(Number.NaN);
      column.push(value ?? Number.NaN);
    }
    this.#x.push(x);
  }

  /**
   * A metric for a chart of about `most` points; undefined for a name that there is not.
   *
   * smoothing: in [0, 1), the weight of what was before in an exponential moving average, corrected for its start as Adam's moments are
   * (Kingma & Ba 2015, section 3).
   */
  series(
    key: string,
    { most, smoothing = 0 }: { most: number; smoothing?: number },
  ): MetricSeries | undefined {
    const column = this.#columns.get(key);
    if (!column) return undefined;
    const y = column.values;
    const places = thinnedPlaces(y, most);
    const smooth = smoothing > 0 ? smoothedAt(y, places, smoothing) : undefined;
    return {
      key,
      x: places.map((place) => this.#x.values[place] as number),
      y: places.map((place) => finite(y[place] as number)),
      ...(smooth && { smooth }),
      points: y.length,
    };
  }
}

/** Places of the lowest and the highest of each group of values, in order, so that no peak is lost; first and last are among them. */
export function thinnedPlaces(values: Float64Array, most: number): number[] {
  if (values.length <= most) return Array.from(values.keys());
  const size = Math.ceil((2 * values.length) / most);
  const kept: number[] = [0];
  for (let start = 0; start < values.length; start += size) {
    const end = Math.min(values.length, start + size);
    let [low, high] = [start, start];
    for (let i = start; i < end; i++) {
      const value = values[i] as number;
      if (value < (values[low] as number) || Number.isNaN(values[low])) low = i;
      if (value > (values[high] as number) || Number.isNaN(values[high])) high = i;
    }
    for (const place of [Math.min(low, high), Math.max(low, high)])
      if (place > (kept.at(-1) as number)) kept.push(place);
  }
  if (kept.at(-1) !== values.length - 1) kept.push(values.length - 1);
  return kept;
}

function smoothedAt(values: Float64Array, places: readonly number[], weight: number): (number | null)[] {
  const found: (number | null)[] = [];
  let [mean, part, next] = [0, 1, 0];
  for (let i = 0; i < values.length && next < places.length; i++) {
    const value = values[i] as number;
    if (Number.isFinite(value)) {
      mean = weight * mean + (1 - weight) * value;
      part *= weight;
    }
    if (i === places[next]) {
      found.push(part === 1 ? null : mean / (1 - part));
      next++;
    }
  }
  return found;
}

const finite = (value: number): number | null => (Number.isFinite(value) ? value : null);
