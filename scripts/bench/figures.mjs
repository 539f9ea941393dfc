// @ts-check
// From the turns of both sides to the figures that are recorded and shown.

/** @typedef {import("../../bench/question.js").Case} Case */
/** @typedef {{ turns: { wall: number, cpu: number }[], result: number[], facts: Record<string, number>, peak: number }} Measured */

/** @typedef {{ cpu: Spread, wall: Spread, peakBytes: number }} SideFigures */
/** @typedef {{ min: number, median: number, max: number }} Spread */
/**
 * What is recorded of a case. `ratio` is ours by Python's: of the least seconds, of the middle ones, of peak bytes.
 *
 * @typedef {{ name: string, shapes: string, rounds: number, runsPerTurn: number, unitsPerRun: number, ours: SideFigures,
 *   facts?: Record<string, number>, python?: SideFigures, ratio?: { cpu: number, cpuMedian: number, wall: number, memory: number },
 *   target?: import("../../bench/question.js").Target, peak?: number, limits?: Record<string, number>, met?: boolean,
 *   largestDifference?: number, agrees?: boolean }} Figures
 */

/** Least, middle and largest of a list. @param {number[]} list */
export function spread(list) {
  const sorted = list.toSorted((a, b) => a - b);
  const at = (/** @type {number} */ place) => sorted[place] ?? Number.NaN;
  const half = (sorted.length - 1) / 2;
  return { min: at(0), median: (at(Math.floor(half)) + at(Math.ceil(half))) / 2, max: at(sorted.length - 1) };
}

/** Largest difference as a part of the largest number; Infinity for lists of different lengths. @param {number[]} a @param {number[]} b */
export function difference(a, b) {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  const largest = Math.max(...a.map(Math.abs), ...b.map(Math.abs), Number.MIN_VALUE);
  const apart = Math.max(...a.map((x, i) => Math.abs(x - (b[i] ?? Number.NaN))), 0);
  return Number.isNaN(apart) ? Number.POSITIVE_INFINITY : apart / largest;
}

/**
 * @param {Case} one @param {{ times: number, units: number }} work @param {Measured} ours @param {Measured | undefined} peer
 * @returns {Figures}
 */
export function summarise(one, work, ours, peer) {
  const of = (/** @type {Measured} */ { turns, peak }) => ({
    cpu: spread(turns.map(({ cpu }) => cpu)),
    wall: spread(turns.map(({ wall }) => wall)),
    peakBytes: peak,
  });
  const record = {
    name: one.name,
    shapes: one.shapes,
    rounds: ours.turns.length,
    runsPerTurn: work.times,
    unitsPerRun: work.units,
    ours: of(ours),
    ...(Object.keys(ours.facts).length > 0 ? { facts: ours.facts } : {}),
    ...(one.limits ? { limits: one.limits } : {}),
  };
  const within = Object.entries(one.limits ?? {}).map(
    ([fact, most]) => (ours.facts[fact] ?? Number.POSITIVE_INFINITY) <= most,
  );
  const met = (/** @type {boolean[]} */ all) => (all.length > 0 ? { met: all.every(Boolean) } : {});
  if (!peer) return { ...record, ...met(within) };
  const theirs = of(peer);
  const ratio = {
    cpu: record.ours.cpu.min / theirs.cpu.min,
    cpuMedian: record.ours.cpu.median / theirs.cpu.median,
    wall: record.ours.wall.min / theirs.wall.min,
    memory: record.ours.peakBytes / theirs.peakBytes,
  };
  const compared = ours.result.length > 0 || peer.result.length > 0;
  const apart = difference(ours.result, peer.result);
  return {
    ...record,
    python: theirs,
    ratio,
    ...(one.target ? { target: one.target } : {}),
    ...(one.peak ? { peak: one.peak } : {}),
    ...met([
      ...within,
      ...(one.target ? [ratio[one.target.of] <= one.target.ratio] : []),
      ...(one.peak ? [ratio.memory <= one.peak] : []),
    ]),
    ...(compared ? { largestDifference: apart, agrees: apart <= (one.tolerance ?? 1e-4) } : {}),
  };
}

/** What was aimed at, in words; empty where nothing was. @param {Pick<Figures, "target" | "peak" | "limits">} figures */
export function aimed({ target, peak, limits }) {
  return [
    ...(target ? [`${target.of} ≤ ${target.ratio}`] : []),
    ...(peak ? [`peak ≤ ${peak}`] : []),
    ...Object.entries(limits ?? {}).map(([fact, most]) => `${fact} ≤ ${most}`),
  ].join(", ");
}

/** One line for the terminal. @param {Figures} figures */
export function describe(figures) {
  const { name, ours, python, ratio, met, agrees, largestDifference, facts } = figures;
  const columns = [name.padEnd(40), `ours ${duration(ours.cpu.min).padStart(8)}`];
  if (python && ratio) {
    columns.push(
      `python ${duration(python.cpu.min).padStart(8)}`,
      `cpu × ${ratio.cpu.toFixed(2)} (median ${ratio.cpuMedian.toFixed(2)})`,
      `wall × ${ratio.wall.toFixed(2)}`,
    );
  }
  columns.push(
    `peak ${Math.round(ours.peakBytes / 2 ** 20)}${python ? ` / ${Math.round(python.peakBytes / 2 ** 20)}` : ""} MiB`,
  );
  if (met !== undefined) columns.push(`${met ? "met" : "MISSED"}: ${aimed(figures)}`);
  if (agrees === false) columns.push(`RESULTS DIFFER by ${largestDifference?.toExponential(1)}`);
  for (const [fact, value] of Object.entries(facts ?? {})) columns.push(`${fact} ${value}`);
  return columns.join("  ");
}

/** @param {number} seconds */
function duration(seconds) {
  if (seconds >= 1) return `${seconds.toFixed(2)} s`;
  if (seconds >= 1e-3) return `${(seconds * 1e3).toFixed(2)} ms`;
  return `${(seconds * 1e6).toFixed(2)} µs`;
}
