// Parses parquet files in a thread of its own: a damaged file can make the parser spin or ask for any amount of memory.
import { closeSync, openSync, readlinkSync, readSync, statSync } from "node:fs";
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
import { requireBoundedThrift } from "./thrift-bounds.js";

export interface ParquetLimits {
  /** Bytes that one request may read and unpack. */
  bytes: number;
}

/** A column, or a field of a struct in one: `images.image_1` is ["images", "image_1"]. */
export interface ParquetColumn {
  name: string;
  way: readonly string[];
  /** It holds bytes that are no text, or structs { bytes, path }: images. */
  isBinary: boolean;
}

export type ParquetRequest =
  | { kind: "open"; path: string }
  | {
      kind: "read";
      path: string;
      /** Binary ones give bytes, or the path where there are none. */
      columns: readonly ParquetColumn[];
      rowStart: number;
      rowEnd: number;
      useOffsetIndex: boolean;
    };

export interface ParquetFile {
  columns: ParquetColumn[];
  rowGroups: {
    rows: number /** Stored bytes by column. */;
    bytes: Record<string, number>;
    /** Columns whose pages can be found without reading the others. */ indexed: string[];
  }[];
}

/** Cells of each column. Binary ones are [start, end) in `pack`, a path, or undefined where the cell is empty. */
export interface ParquetRows {
  count: number;
  cells: Record<string, unknown[]>;
  pack: ArrayBuffer;
}

export type ParquetAnswer =
  /** thread: the file in which the system tells of this thread, where there is such. */
  | { ready: true; thread?: string }
  | { result: ParquetFile | ParquetRows }
  /** isShortage: the computer has not enough, the file may be sound. */
  | { fault: string; isShortage: boolean };

/** Of one row group. */
const MOST_ROWS = 1_000_000;
const { bytes: limit } = workerData as ParquetLimits;
let spent = 0;
let allowed = limit;

/** Bytes that a file of so many may be unpacked to: images hardly shrink, and text does not shrink a hundredfold. */
const unpacked = (size: number): number => Math.min(limit, 2 ** 26 + 100 * size);

function spend(bytes: number): void {
  spent += bytes;
  if (!(bytes >= 0) || spent > allowed)
    throw new Error(`it asks for more than ${Math.round(allowed / 2 ** 20)} MB at once`);
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

/** The metadata: it stands before its length and the last four letters. */
async function footerOf(file: AsyncBuffer): Promise<Uint8Array> {
  const end = file.byteLength - 8;
  if (end < 4) throw new Error("it is too short");
  const length = new DataView(await file.slice(end, end + 4)).getUint32(0, true);
  if (length > end - 4) throw new Error("its metadata is longer than the file");
  return new Uint8Array(await file.slice(end - length, end));
}

async function opened(path: string): Promise<{ file: AsyncBuffer; metadata: FileMetaData }> {
  const { mtimeMs: written } = statSync(path);
  const known = files.get(path);
  if (known?.written === written) return known;
  const file = openFile(path);
  requireBoundedThrift(await footerOf(file));
  const metadata = await parquetMetadataAsync(file, { geoparquet: false });
  for (const { num_rows: rows } of metadata.row_groups)
    if (!(rows >= 0n && rows <= MOST_ROWS)) throw new Error(`a row group claims ${rows} rows`);
  files.set(path, { file, metadata, written });
  return { file, metadata };
}

async function open(path: string): Promise<ParquetFile> {
  const { metadata } = await opened(path);
  return {
    columns: parquetSchema(metadata).children.flatMap((child) => columnsOf(child)),
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

type SchemaTree = ReturnType<typeof parquetSchema>;

/** Inner structs further down are no columns of a preference set. */
const MOST_DEPTH = 4;

/** A column, or the fields of one that is a struct. Lists and images stay whole. */
function columnsOf(tree: SchemaTree, before: readonly string[] = []): ParquetColumn[] {
  const { element, children } = tree;
  const way = [...before, element.name];
  const fields = children.map((child) => child.element.name);
  const isList =
    /^(LIST|MAP)/.test(element.converted_type ?? "") || /^(LIST|MAP)$/.test(element.logical_type?.type ?? "");
  const isImage = children.length > 0 && fields.every((field) => field === "bytes" || field === "path");
  if (children.length > 0 && !isList && !isImage && way.length < MOST_DEPTH)
    return children.flatMap((child) => columnsOf(child, way));
  const isText = element.converted_type !== undefined || element.logical_type !== undefined;
  const isBytes = element.type === "BYTE_ARRAY" || element.type === "FIXED_LEN_BYTE_ARRAY";
  return [{ name: way.join("."), way, isBinary: isImage || (children.length === 0 && isBytes && !isText) }];
}

async function read({
  path,
  columns,
  rowStart,
  rowEnd,
  useOffsetIndex,
}: ParquetRequest & { kind: "read" }): Promise<ParquetRows> {
  const { file, metadata } = await opened(path);
  const rows = await parquetReadObjects({
    file,
    metadata,
    columns: [...new Set(columns.map(({ way }) => way[0] as string))],
    rowStart,
    rowEnd,
    useOffsetIndex,
    compressors: limited,
    // A binary column that carries no annotation would be decoded as text, which destroys images.
    utf8: false,
    geoparquet: false,
  });
  const at = (row: Record<string, unknown>, way: readonly string[]): unknown =>
    way.reduce<unknown>(
      (value, name) =>
        typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined,
      row,
    );
  const binary = columns.filter(({ isBinary }) => isBinary);
  const images = binary.map(({ way }) => rows.map((row) => imageOf(at(row, way))));
  const total = images
    .flat()
    .reduce((sum: number, image) => sum + (image instanceof Uint8Array ? image.byteLength : 0), 0);
  spend(total);
  const pack = largeBytes(total);
  let end = 0;
  const places = images.map((column) =>
    column.map((image) => {
      if (!(image instanceof Uint8Array)) return image;
      pack.set(image, end);
      end += image.byteLength;
      return [end - image.byteLength, end];
    }),
  );
  const text = columns.filter(({ isBinary }) => !isBinary);
  return {
    count: rows.length,
    cells: Object.fromEntries([
      ...text.map(({ name, way }) => [name, rows.map((row) => plain(at(row, way)))]),
      ...binary.map(({ name }, i) => [name, places[i]]),
    ]),
    pack: pack.buffer,
  };
}

/** A binary cell: bytes, or the struct { bytes, path } that the `Image` feature of datasets writes. */
function imageOf(value: unknown): Uint8Array | string | undefined {
  if (value instanceof Uint8Array) return value;
  if (typeof value !== "object" || value === null) return undefined;
  const { bytes, path } = value as Record<string, unknown>;
  if (bytes instanceof Uint8Array && bytes.byteLength > 0) return bytes;
  const text = plain(path);
  return typeof text === "string" && text !== "" ? text : undefined;
}

/** A cell that is no image: text arrives as a string or as its UTF-8 bytes, integers may be bigint; lists and structs of those. */
function plain(value: unknown, depth = 0): unknown {
  if (value instanceof Uint8Array) return isImage(value) ? value.slice() : new TextDecoder().decode(value);
  if (typeof value === "bigint") return Number(value);
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return value;
  if (value === null) return null;
  if (depth > 8 || typeof value !== "object") return undefined;
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value)) return value.map((entry) => plain(entry, depth + 1));
  return Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, plain(entry, depth + 1)]));
}

/** Whether bytes in a list are an image's and not text. */
const isImage = ([a, b, c, d]: Uint8Array): boolean =>
  (a === 0x89 && b === 0x50) ||
  (a === 0xff && b === 0xd8) ||
  (a === 0x52 && b === 0x49 && c === 0x46 && d === 0x46);

/** Words of the engine for too little memory, which say nothing against the file. */
const SHORTAGE =
  /out of memory|could not allocate memory|allocation failed|cannot allocate|EMFILE|ENFILE|ENOMEM/i;

parentPort?.on("message", async (request: ParquetRequest) => {
  spent = 0;
  let answer: ParquetAnswer;
  try {
    allowed = unpacked(statSync(request.path).size);
    answer = { result: request.kind === "open" ? await open(request.path) : await read(request) };
  } catch (error) {
    answer = { fault: wordsOf(error), isShortage: SHORTAGE.test((error as Error).message) };
  }
  const moved = "result" in answer && "pack" in answer.result ? [answer.result.pack] : [];
  parentPort?.postMessage(answer, moved);
});

/**
 * A damaged file can make the parser throw an error of the language, or name a kind that its tables lack. Such messages are no
 * help to who has the file.
 */
function wordsOf(error: unknown): string {
  const { message } = error as Error;
  if (/allocat|memory/i.test(message)) return message;
  if (error instanceof TypeError || error instanceof RangeError || /\bundefined\b/.test(message))
    return "its metadata or a page is damaged";
  return message;
}

/** By which the thread's own processor time can be read from outside. */
function threadFile(): string | undefined {
  try {
    return `/proc/${readlinkSync("/proc/thread-self")}/stat`;
  } catch {
    return undefined; // no Linux
  }
}

parentPort?.postMessage({ ready: true, thread: threadFile() } satisfies ParquetAnswer);
