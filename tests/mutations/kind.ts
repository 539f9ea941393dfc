// One kind of input from strangers: sound files, which of them are changed, and what reads them.

/** What a kind belongs to; each group has the same number of cases. */
export const GROUPS = [
  "safetensors",
  "pickle",
  "parquet",
  "pairs",
  "configs",
  "tokenizers",
  "images",
  "runs",
  "others",
  "commands",
] as const;
export type Group = (typeof GROUPS)[number];

export interface Kind {
  name: string;
  group: Group;
  /** Writes the sound files into an empty folder: the same ones each time. */
  make(folder: string): void | Promise<void>;
  /** Files that are changed, by their path in the folder, with `/`. Default: all. */
  changed?: RegExp;
  /** Words of the formats, which are put into the files. */
  words?: readonly string[];
  /**
   * Reads the folder as the product does. Gives `refused` where that is told by no exception; anything else means that it was read.
   *
   * index: of the case, −1 for the sound files. What it opens it closes, and it leaves no tensor.
   */
  read(folder: string, index: number): unknown;
  /** It also writes: the whole folder is made anew for each case. */
  writes?: boolean;
  /** So many cases and no more, in place of changes drawn: `read` itself knows what to do of case N. */
  count?: number;
  /** Share of the group's cases beside the others'; default 1. */
  share?: number;
}

export type Outcome = "read" | "refused";
