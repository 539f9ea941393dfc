import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { keep, type Tensor, UserError, writeFileAtomic } from "@spo/torch";
import { parquetWriteBuffer } from "hyparquet-writer";
import { bytesOf, readParquet, textOf } from "./parquet.js";
import { pixelsOf } from "./pixels.js";

/** A row of a preference data set in Pick-a-Pic's column layout. */
export interface PairRow {
  caption: string;
  /** Encoded images (JPEG, PNG or WebP, whatever the column's name says). */
  jpg_0: Uint8Array;
  jpg_1: Uint8Array;
  /** Soft labels: label_0 + label_1 = 1; ½ and ½ is a tie. */
  label_0: number;
  label_1: number;
  /** Rows of this caption in the data set. */
  num_example_per_prompt: number;
  /** `train` or `test`. */
  split: string;
  /** How the pair came about. */
  kind: string;
}

/** Preference pairs in memory, images of one size; row i of everything belongs to pair i. */
export interface PreferencePairs {
  captions: string[];
  /** [n, 3, h, w] in [−1, 1]. */
  image0: Tensor;
  image1: Tensor;
  label0: number[];
  examples: number[];
  kinds: string[];
}

const COLUMNS = ["caption", "jpg_0", "jpg_1", "label_0", "label_1", "num_example_per_prompt"];

/**
 * Reads the pairs of one split. Files without a `split` column are all `train`.
 *
 * Throws a UserError (`DATA`) for labels outside [0, 1] or not summing to 1, empty captions, images that do not decode, no row at all.
 */
export async function readPairs(path: string, split: string): Promise<PreferencePairs> {
  const rows = await readParquet(path, COLUMNS, ["split", "kind"]);
  const faults: string[] = [];
  const chosen = rows.filter((row) => textOf(row.split ?? "train") === split);
  for (const [i, row] of chosen.entries()) {
    const [a, b] = [Number(row.label_0), Number(row.label_1)];
    if (!(a >= 0 && a <= 1 && b >= 0 && b <= 1) || Math.abs(a + b - 1) > 1e-6)
      faults.push(`row ${i}: labels ${a} and ${b} are no pair that sums to 1`);
    if (textOf(row.caption).trim() === "") faults.push(`row ${i}: no caption`);
  }
  if (chosen.length === 0) faults.push(`no row of the split "${split}"`);
  if (faults.length > 0)
    throw new UserError(`${path}:\n  ${faults.slice(0, 20).join("\n  ")}`, { code: "DATA" });
  return {
    captions: chosen.map((row) => textOf(row.caption)),
    image0: keep(
      await pixelsOf(
        chosen.map((row) => bytesOf(row.jpg_0)),
        `${path} jpg_0`,
      ),
    ),
    image1: keep(
      await pixelsOf(
        chosen.map((row) => bytesOf(row.jpg_1)),
        `${path} jpg_1`,
      ),
    ),
    label0: chosen.map((row) => Number(row.label_0)),
    examples: chosen.map((row) => Math.max(1, Number(row.num_example_per_prompt))),
    kinds: chosen.map((row) => textOf(row.kind ?? "")),
  };
}

/** Writes rows in Pick-a-Pic's column layout, whole or not at all. */
export function writePairs(path: string, rows: readonly PairRow[]): void {
  const column = <K extends keyof PairRow>(name: K): PairRow[K][] => rows.map((row) => row[name]);
  const buffer = parquetWriteBuffer({
    columnData: [
      { name: "caption", data: column("caption"), type: "STRING" },
      { name: "jpg_0", data: column("jpg_0"), type: "BYTE_ARRAY" },
      { name: "jpg_1", data: column("jpg_1"), type: "BYTE_ARRAY" },
      { name: "label_0", data: column("label_0"), type: "DOUBLE" },
      { name: "label_1", data: column("label_1"), type: "DOUBLE" },
      { name: "num_example_per_prompt", data: column("num_example_per_prompt"), type: "INT32" },
      { name: "has_label", data: rows.map(() => true), type: "BOOLEAN" },
      { name: "are_different", data: rows.map(() => true), type: "BOOLEAN" },
      { name: "split", data: column("split"), type: "STRING" },
      { name: "kind", data: column("kind"), type: "STRING" },
    ],
  });
  mkdirSync(dirname(path), { recursive: true });
  writeFileAtomic(path, new Uint8Array(buffer));
}
