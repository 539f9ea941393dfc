// Parses parquet files in a thread of its own: a damaged file can make the parser spin or ask for any amount of memory.
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import {
  type AsyncBuffer,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
} from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { largeBytes } from "./large-bytes.js";

export interface ParquetLimits {
  /** Bytes that one request may read and unpack. */
  bytes: number;
}

export type ParquetRequest =
  | { kind: "open"; path: string }
  | {
      kind: "read";
      path: string;
      columns: readonly string[];
      /** These give bytes. */
      binary: readonly string[];
      rowStart: number;
      rowEnd: number;
      useOffsetIndex: boolean;
    };

export interface ParquetFile {
  columns: string[];
  rowGroups: {
    rows: number /** Stored bytes by column. */;
    bytes: Record<string, number>;
    /** Columns whose pages can be found without reading the others. */ indexed: string[];
  }[];
}

/** Cells of each column. Binary ones are [start, end) in `pack`, or undefined where the cell is empty. */
export interface ParquetRows {
  count: number;
  cells: Record<string, unknown[]>;
  pack: ArrayBuffer;
}

export type ParquetAnswer = { ready: true } | { result: ParquetFile | ParquetRows } | { fault: string };

/** Of one row group. */
const MOST_ROWS = 1_000_000;
const { bytes: limit } = workerData as ParquetLimits;
let spent = 0;

function spend(bytes: number): void {
  spent += bytes;
  if (!(bytes >= 0) || spent > limit)
    throw new Error(`it asks for more than ${Math.round(limit / 2 ** 20)} MB at once`);
}

const limited = Object.fromEntries(
  Object.entries(compressors).map(([codec, unpack]) => [
    codec,
    (input: Uint8Array, length: number): Uint8Array => {
      spend(length);
      return unpack(input, length);
    },
  ]),
);

function openFile(path: string): AsyncBuffer {
  const { size } = statSync(path);
  return {
    byteLength: size,
    slice(start, end = size) {
      // Positions come from the file: outside of it there is nothing.
      const from = Math.max(0, Math.min(start, size));
      const length = Math.max(0, Math.min(end, size) - from);
      spend(length);
      const buffer = new Uint8Array(length);
      const file = openSync(path, "r"); // each time: a set may have more files than a process may hold open
      try {
        for (let at = 0; at < length; ) {
          const read = readSync(file, buffer, at, length - at, from + at);
          if (read === 0) throw new Error("it became shorter while it was read");
          at += read;
        }
      } finally {
        closeSync(file);
      }
      return buffer.buffer;
    },
  };
}

const files = new Map<string, { file: AsyncBuffer; metadata: FileMetaData; written: number }>();

async function opened(path: string): Promise<{ file: AsyncBuffer; metadata: FileMetaData }> {
  const { mtimeMs: written } = statSync(path);
  const known = files.get(path);
  if (known?.written === written) return known;
  const file = openFile(path);
  const metadata = await parquetMetadataAsync(file, { geoparquet: false });
  for (const { num_rows: rows } of metadata.row_groups)
    if (!(rows >= 0n && rows <= MOST_ROWS)) throw new Error(`a row group claims ${rows} rows`);
  files.set(path, { file, metadata, written });
  return { file, metadata };
}

async function open(path: string): Promise<ParquetFile> {
  const { metadata } = await opened(path);
  return {
    columns: parquetSchema(metadata).children.map(({ element }) => element.name),
    rowGroups: metadata.row_groups.map(({ num_rows: rows, columns }) => {
      const bytes: Record<string, number> = {};
      for (const { meta_data: chunk } of columns) {
        const name = chunk?.path_in_schema[0];
        if (chunk && name !== undefined)
          bytes[name] = (bytes[name] ?? 0) + Math.max(0, Number(chunk.total_compressed_size));
      }
      return {
        rows: Number(rows),
        bytes,
        indexed: columns.flatMap(({ meta_data: chunk, offset_index_offset: at }) =>
          at === undefined ? [] : (chunk?.path_in_schema[0] ?? []),
        ),
      };
    }),
  };
}

async function read({
  path,
  columns,
  binary,
  rowStart,
  rowEnd,
  useOffsetIndex,
}: ParquetRequest & { kind: "read" }): Promise<ParquetRows> {
  const { file, metadata } = await opened(path);
  const rows = await parquetReadObjects({
    file,
    metadata,
    columns: [...columns],
    rowStart,
    rowEnd,
    useOffsetIndex,
    compressors: limited,
    // A binary column that carries no annotation would be decoded as text, which destroys images.
    utf8: false,
    geoparquet: false,
  });
  const images = binary.map((name) => rows.map((row) => bytesOf(row[name])));
  const total = images.flat().reduce((sum, image) => sum + (image?.byteLength ?? 0), 0);
  spend(total);
  const pack = largeBytes(total);
  let at = 0;
  const places = images.map((column) =>
    column.map((image) => {
      if (!image) return undefined;
      pack.set(image, at);
      at += image.byteLength;
      return [at - image.byteLength, at];
    }),
  );
  const text = columns.filter((name) => !binary.includes(name));
  return {
    count: rows.length,
    cells: Object.fromEntries([
      ...text.map((name) => [name, rows.map((row) => plain(row[name]))]),
      ...binary.map((name, i) => [name, places[i]]),
    ]),
    pack: pack.buffer,
  };
}

/** A binary cell: bytes, or the struct { bytes, path } that the `Image` feature of datasets writes. */
function bytesOf(value: unknown): Uint8Array | undefined {
  if (value instanceof Uint8Array) return value;
  if (typeof value === "object" && value !== null && "bytes" in value)
    return value.bytes instanceof Uint8Array ? value.bytes : undefined;
  return undefined;
}

/** A text or number cell: text arrives as a string or as its UTF-8 bytes, integers may be bigint. */
function plain(value: unknown): string | number | boolean | undefined {
  if (value instanceof Uint8Array) return new TextDecoder().decode(value);
  if (typeof value === "bigint") return Number(value);
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return value;
  return undefined;
}

parentPort?.on("message", async (request: ParquetRequest) => {
  spent = 0;
  let answer: ParquetAnswer;
  try {
    answer = { result: request.kind === "open" ? await open(request.path) : await read(request) };
  } catch (error) {
    answer = { fault: (error as Error).message };
  }
  const moved = "result" in answer && "pack" in answer.result ? [answer.result.pack] : [];
  parentPort?.postMessage(answer, moved);
});

parentPort?.postMessage({ ready: true } satisfies ParquetAnswer);
