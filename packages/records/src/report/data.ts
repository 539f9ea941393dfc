import type { Estimate } from "../statistics.js";
import type { Chart } from "./charts.js";
import type { Unit } from "./numbers.js";

/** All contents of a report. Images are PNG bytes. */
export interface ReportData {
  title: string;
  /** What was done, in a sentence or two. */
  summary: string;
  /** What came out, in one sentence; it stands first. */
  verdict?: string;
  /** Key numbers of a training, which has no measures: as written, and what they are. */
  figures?: readonly { value: string; what: string }[];
  measures: readonly Measure[];
  /** Number of same-noise pairs behind the measures. */
  pairCount: number;
  /** What the control was and where its figures are from. */
  controlNote?: string;
  pairs: readonly ImagePair[];
  /** What prompts and noise they are of. Default: prompts that were not trained on. */
  pairsAbout?: string;
  /** Prompts at both ends, shown first. */
  extremes?: Extremes;
  /** The same prompts in the course of a training. */
  samples?: readonly SampleRow[];
  strips: readonly Strip[];
  charts: readonly ChartGroup[];
  work: readonly StageWork[];
  /** Settings by stage; nested objects are shown by dotted names. */
  settings: Readonly<Record<string, object>>;
  provenance: Readonly<Record<string, string | number>>;
  /** Reservations about the figures. */
  notes?: readonly string[];
}

/** One figure of base and SPO, on the same prompts and seeds. */
export interface Measure {
  name: string;
  about: string;
  unit: Unit;
  better: "higher" | "lower";
  base: Estimate;
  spo: Estimate;
  /** SPO less base, on the same noise. */
  difference?: Estimate;
  /** Share of same-noise pairs in which SPO is better. */
  wins?: Estimate;
  /** The same with random labels and everything else equal. */
  control?: { value: Estimate; wins?: Estimate };
  /** Stands large at the top. */
  headline?: boolean;
}

/** Two images from the same noise. */
export interface ImagePair {
  prompt: string;
  seed: number;
  /** Which image of the prompt and seed, from 1; absent where there is but one. */
  image?: number;
  base: Uint8Array;
  spo: Uint8Array;
}

/** Where SPO has changed a prompt's images most for the better, and where most for the worse; one image a prompt. */
export interface Extremes {
  /** By what, and which image stands for its prompt. */
  about: string;
  most: readonly ImagePair[];
  /** The worst first. */
  least: readonly ImagePair[];
}

/** One prompt from one noise, in the course of a training. */
export interface SampleRow {
  prompt: string;
  images: readonly { step: number; png: Uint8Array }[];
}

/** The candidates of one prompt, step by step. */
export interface Strip {
  prompt: string;
  /** When it was. */
  note?: string;
  rows: readonly StripRow[];
}

/** The candidates of one timestep with what the judge said of them. */
export interface StripRow {
  timestep: number;
  images: readonly Uint8Array[];
  scores: readonly number[];
  win: number;
  lose: number;
  /** Far enough apart for a pair. */
  valid: boolean;
  /** The candidate that went on; absent after the last step. */
  next?: number;
}

/** Charts that belong together, with a heading. */
export interface ChartGroup {
  title: string;
  about: string;
  charts: readonly Chart[];
}

/** What one stage spent: seconds by phase, sample passes by kind. */
export interface StageWork {
  stage: string;
  phases: Readonly<Record<string, { wall: number; cpu: number }>>;
  passes: Readonly<Record<string, number>>;
}

/** The verdict of a measure: clearly better, clearly worse, or undecided by its interval. */
export function verdict({
  better,
  base,
  spo,
  difference,
  wins,
}: Pick<Measure, "better" | "base" | "spo" | "difference" | "wins">): "better" | "worse" | "unclear" {
  if (wins) return wins.low > 0.5 ? "better" : wins.high < 0.5 ? "worse" : "unclear";
  const gain = difference ?? { low: spo.low - base.high, high: spo.high - base.low };
  const [low, high] = better === "higher" ? [gain.low, gain.high] : [-gain.high, -gain.low];
  return low > 0 ? "better" : high < 0 ? "worse" : "unclear";
}
