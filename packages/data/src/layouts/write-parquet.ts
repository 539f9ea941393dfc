import { AtomicFile } from "@spo/torch/files";
import { ByteWriter, ParquetWriter, schemaFromColumnData } from "hyparquet-writer";
import { bytesOfImage } from "../image-bytes.js";
import type { PreferencePair } from "../preference.js";
import { gapColumn } from "./gap-columns.js";

/** Stored images of one row group: a reader holds at least one. */
const GROUP_BYTES = 16 << 20;
const GROUP_ROWS = 1000;

/** One row as it is written. */
type Row = Omit<PreferencePair, "image0" | "image1"> & { jpg_0: Uint8Array; jpg_1: Uint8Array };

/**
 * Writes pairs in Pick-a-Pic's columns, as they come: whole or not at all, in row groups small enough to be read one by one.
 *
 * gapScorers: whose gaps are written. Gives the number of pairs. Throws UserErrors when the disk refuses or an image's file cannot be read.
 */
export async function writeParquetPairs(
  path: string,
  pairs: AsyncIterable<PreferencePair>,
  { gapScorers = [] }: { gapScorers?: readonly string[] } = {},
): Promise<number> {
  using file = new AtomicFile(path);
  const parquet = new ParquetWriter({
    writer: appender(file),
    schema: schemaFromColumnData({ columnData: columns([], gapScorers) }),
    codec: "UNCOMPRESSED",
  });
  let written = 0;
  let rows: Row[] = [];
  let bytes = 0;
  const flush = (): void => {
    if (rows.length > 0) parquet.write({ columnData: columns(rows, gapScorers), rowGroupSize: rows.length });
    written += rows.length;
    [rows, bytes] = [[], 0];
  };
  for await (const { image0, image1, ...facts } of pairs) {
    const [jpg_0, jpg_1] = [bytesOfImage(image0), bytesOfImage(image1)];
    const size = jpg_0.byteLength + jpg_1.byteLength;
    if (rows.length > 0 && (bytes + size > GROUP_BYTES || rows.length === GROUP_ROWS)) flush();
    rows.push({ ...facts, jpg_0, jpg_1 });
    bytes += size;
  }
  flush();
  parquet.finish();
  file.place();
  return written;
}

function columns(rows: readonly Row[], gapScorers: readonly string[]) {
  const column = <T>(of: (row: Row) => T | undefined): (T | null)[] => rows.map((row) => of(row) ?? null);
  const whole = (value: number | undefined): bigint | undefined =>
    value === undefined ? undefined : BigInt(value);
  const label = (value: number): number | undefined => (Number.isNaN(value) ? undefined : value);
  return [
    { name: "caption", data: column((row) => row.prompt), type: "STRING" as const },
    { name: "jpg_0", data: column((row) => row.jpg_0), type: "BYTE_ARRAY" as const },
    { name: "jpg_1", data: column((row) => row.jpg_1), type: "BYTE_ARRAY" as const },
    { name: "label_0", data: column((row) => label(row.label0)), type: "DOUBLE" as const, nullable: true },
    { name: "label_1", data: column((row) => label(row.label1)), type: "DOUBLE" as const, nullable: true },
    {
      name: "num_example_per_prompt",
      data: column((row) => row.examples),
      type: "INT32" as const,
      nullable: true,
    },
    { name: "has_label", data: column((row) => row.labelled), type: "BOOLEAN" as const },
    { name: "are_different", data: column((row) => row.different), type: "BOOLEAN" as const },
    { name: "split", data: column((row) => row.split), type: "STRING" as const },
    { name: "kind", data: column((row) => row.kind), type: "STRING" as const, nullable: true },
    { name: "model_0", data: column((row) => row.model0), type: "STRING" as const, nullable: true },
    { name: "model_1", data: column((row) => row.model1), type: "STRING" as const, nullable: true },
    { name: "seed_0", data: column((row) => whole(row.seed0)), type: "INT64" as const, nullable: true },
    { name: "seed_1", data: column((row) => whole(row.seed1)), type: "INT64" as const, nullable: true },
    ...gapScorers.map((scorer) => ({
      name: gapColumn(scorer),
      data: column((row) => row.gaps?.[scorer]),
      type: "DOUBLE" as const,
      nullable: true,
    })),
  ];
}

/** A writer whose buffer is emptied into a file whenever it grows large. */
function appender(file: AtomicFile): ByteWriter {
  const writer = new ByteWriter();
  const grow = writer.ensure.bind(writer);
  const flush = (): void => {
    file.write(new Uint8Array(writer.buffer, 0, writer.index));
    writer.index = 0;
  };
  writer.ensure = (size) => {
    if (writer.index > 1 << 20) flush();
    grow(size);
  };
  writer.finish = flush;
  return writer;
}
