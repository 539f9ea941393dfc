import { writeFileAtomic } from "@spo/torch/files";
import { parquetWriteBuffer } from "hyparquet-writer";

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
  writeFileAtomic(path, new Uint8Array(buffer));
}
