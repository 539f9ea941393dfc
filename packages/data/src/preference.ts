// The common form of all layouts of preference data. No tensor code.

/** An image's encoded bytes (JPEG, PNG, WebP), or the file that has them; with a `root`, links may not lead out of that folder. */
export type EncodedImage = Uint8Array | { path: string; root?: string };

/** A pair without its images: what can be looked through cheaply. */
export interface PairFacts {
  prompt: string;
  /** Soft labels, label0 + label1 = 1; ½ and ½ is a tie. NaN where the data has no number. */
  label0: number;
  label1: number;
  /** Pairs of this prompt in the set, as the data says; undefined where it says nothing. */
  examples?: number;
  /** False: nobody has judged this pair, the labels mean nothing. */
  labelled: boolean;
  /** False: both sides show the same image. */
  different: boolean;
  /** `train`, `test`, `validation`, … */
  split: string;
  /** How the pair came about, where the data says. */
  kind?: string;
  /** The models that made the images, where the data names them. */
  model0?: string;
  model1?: string;
  /** The seeds that the images were made from, where the data says. */
  seed0?: number;
  seed1?: number;
  /** By scorer: its score of the preferred image less that of the other; of a tie, that of image 0 less that of image 1. */
  gaps?: Readonly<Record<string, number>>;
  /** What cannot be read of the row: a label that is no number, an image that is none. */
  faults?: readonly Fault[];
}

/** A pair with its images, as they are stored. */
export interface PreferencePair extends PairFacts {
  image0: EncodedImage;
  image1: EncodedImage;
}

/** The layouts of preference data, by their names on the command line. */
export const LAYOUTS = ["parquet", "hpd", "jsonl", "csv", "kohya"] as const;
/** One of `LAYOUTS`. */
export type Layout = (typeof LAYOUTS)[number];

/** How counted votes become a share: v₀/(v₀+v₁), (v₀+1)/(v₀+v₁+2), or 1, ½ and 0. */
export const SOFT_LABELS = ["share", "smoothed", "majority"] as const;
/** One of `SOFT_LABELS`. */
export type SoftLabels = (typeof SOFT_LABELS)[number];

/** Rows that are read together. */
export interface PairBlock {
  rows: number;
  /** About how much memory its pairs take, images as they are stored. */
  bytes: number;
}

/** Preference pairs in one layout, read block by block. */
export interface PairSource {
  readonly layout: Layout;
  readonly blocks: readonly PairBlock[];
  /** Scorers whose gaps its pairs may have; default none. */
  readonly gapScorers?: readonly string[];
  /** The pairs of a block without their images. */
  facts(block: number): Promise<PairFacts[]>;
  pairs(block: number): Promise<PreferencePair[]>;
  /** File and row of a pair, for messages. */
  where(block: number, row: number): string;
  close(): Promise<void>;
}

/** What a layout's reader notices beside the pairs: things that are no pair at all. */
export type Fault = string;

/** Whether neither image is preferred. */
export const isTie = ({ label0, label1 }: Pick<PairFacts, "label0" | "label1">): boolean => label0 === label1;

/** Faults of a pair's labels and prompt; of an unjudged pair only those of its prompt. */
export function faultsOfPair({ prompt, label0, label1, labelled, faults: read = [] }: PairFacts): Fault[] {
  const faults: Fault[] = [...read];
  if (prompt.trim() === "") faults.push("no prompt");
  if (!labelled || (read.length > 0 && Number.isNaN(label0))) return faults;
  const inRange = (label: number): boolean => label >= 0 && label <= 1;
  if (!inRange(label0) || !inRange(label1))
    faults.push(`labels ${label0} and ${label1} are not both from 0 to 1`);
  else if (Math.abs(label0 + label1 - 1) > 1e-6)
    faults.push(`labels ${label0} and ${label1} do not sum to 1`);
  return faults;
}
