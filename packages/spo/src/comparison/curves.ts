// Curves of quality over cost, and which method reaches a quality sooner. Pure functions of numbers.
import { mean } from "@spo/records";

/** Quality of one run at one moment. */
export interface CurvePoint {
  /** Spent until then: seconds, or operations. */
  x: number;
  quality: number;
}

/** Begins with the base, at the cost before the training (the preference model's). */
export type Curve = readonly CurvePoint[];

/** Quality at a place, linear between points; before the first point as there, none after the last. */
export function qualityAt(curve: Curve, x: number): number | undefined {
  const next = curve.findIndex((point) => point.x >= x);
  if (next === -1) return undefined;
  const b = curve[next] as CurvePoint;
  const a = curve[next - 1];
  if (!a) return b.quality;
  return a.quality + ((b.quality - a.quality) * (x - a.x)) / (b.x - a.x || 1);
}

/** The first place at which the curve is that good, linear between points; none when it never is. */
export function timeToReach(curve: Curve, quality: number): number | undefined {
  for (const [i, b] of curve.entries()) {
    if (b.quality < quality) continue;
    const a = curve[i - 1];
    if (!a) return b.x;
    return a.x + ((b.x - a.x) * (quality - a.quality)) / (b.quality - a.quality);
  }
  return undefined;
}

export interface Band {
  x: number;
  /** Mean of the runs. */
  quality: number;
  /** Least and largest of the runs. */
  low: number;
  high: number;
}

/** Mean and spread of several runs of a method, at `count` places from the latest start to the earliest end. */
export function band(curves: readonly Curve[], count = 25): Band[] {
  const first = Math.max(...curves.map((curve) => (curve[0] as CurvePoint).x));
  const last = Math.min(...curves.map((curve) => (curve.at(-1) as CurvePoint).x));
  return Array.from({ length: count }, (_, i) => {
    const x = first + ((last - first) * i) / (count - 1);
    const at = curves.map((curve) => qualityAt(curve, Math.min(x, last)) as number);
    return { x, quality: mean(at), low: Math.min(...at), high: Math.max(...at) };
  });
}

/** How much sooner one method is as good as the other at its best. */
export interface Lead {
  /** The other's best mean quality. */
  quality: number;
  /** The other's cost at its best, and this one's when it was as good; absent: never within its time. */
  other: number;
  own?: number;
  /** other / own; above 1: this one is sooner. Absent when it never is as good. */
  ratio?: number;
  /** This one's whole cost, when it never was as good: the ratio is below other / spent. */
  spent?: number;
}

/** base: its quality. A best that is not above it needs no training, so there is no ratio. */
export function leadOver(own: Curve, other: Curve, base: number): Lead | undefined {
  const best = other.reduce((a, b) => (b.quality > a.quality ? b : a));
  if (best.quality <= base) return undefined;
  const reached = timeToReach(own, best.quality);
  if (reached === undefined)
    return { quality: best.quality, other: best.x, spent: (own.at(-1) as CurvePoint).x };
  return { quality: best.quality, other: best.x, own: reached, ratio: best.x / reached };
}
