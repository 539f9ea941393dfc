// Pairs in the rows of parquet files: one file, several, or folders of shards.
import { dirname } from "node:path";
import { UserError } from "@spo/torch/files";
import { FaultList } from "../fault-list.js";
import { ParquetReader, type ParquetReaderOptions } from "../parquet-reader.js";
import type { ParquetColumn, ParquetFile, ParquetRows } from "../parquet-worker.js";
import type { PairBlock, PairSource } from "../preference.js";
import { splitOfPath } from "../splits.js";
import { type Columns, missingColumns, resolveColumns } from "./columns.js";
import type { ListFile } from "./listing.js";
import type { Row } from "./row-pairs.js";
import { type RowTable, sourceOfTable, type TableOptions } from "./table-source.js";

export interface ParquetPairsOptions extends ParquetReaderOptions {
  /** Images of a row group beyond half of this are read in parts, where the file has an index of its pages. */
  partBytes?: number;
}

/** For the text of a pair. */
const TEXT = 300;

interface FileColumns {
  file: ListFile;
  reading: ReturnType<RowTable["reading"]>;
  /** What is read of each row, without and with images. */
  text: ParquetColumn[];
  images: ParquetColumn[];
}

interface Place extends PairBlock {
  of: FileColumns;
  /** In the file. */
  rowStart: number;
  /** Part of a row group. */
  isPart: boolean;
}

/**
 * Pairs from parquet files; `resolveColumns` says which names of columns mean what. Images are bytes, structs { bytes, path }, or paths
 * from where the file lies.
 *
 * Reads row group by row group. Throws UserErrors (`DATA`) for files that are damaged, have other columns, or no row at all.
 */
export async function openParquetPairs(
  files: readonly ListFile[],
  { partBytes = 32 << 20, softLabels, ...limits }: ParquetPairsOptions & TableOptions = {},
): Promise<PairSource> {
  const reader = new ParquetReader(limits);
  const places: Place[] = [];
  const faults = new FaultList();
  try {
    for (const file of files) {
      const opened = await reader.open(file.path);
      const of = columnsOf(file, opened.columns, faults);
      if (of) places.push(...placesOf(of, opened, partBytes));
    }
    if (places.length === 0 && faults.count === 0)
      for (const { path } of files) faults.add(path, "it has no row");
    faults.throwIfAny(
      "The preference set",
      "Preference pairs have Pick-a-Pic's columns (caption, jpg_0, jpg_1, label_0) or others that docs/preference-data.md lists.",
    );
  } catch (error) {
    await reader.close();
    throw error;
  }

  const where = (block: number, row: number): string => {
    const { of, rowStart } = places[block] as Place;
    return `${of.file.path}, row ${rowStart + row}`;
  };
  return sourceOfTable(
    {
      layout: "parquet",
      blocks: places,
      isInMemory: false,
      async read(block, images) {
        const { of, rowStart, rows, isPart } = places[block] as Place;
        const columns = images ? [...of.text, ...of.images] : of.text;
        const read =
          columns.length === 0
            ? { count: rows, cells: {}, pack: new ArrayBuffer(0) }
            : await reader.read({
                path: of.file.path,
                columns,
                rowStart,
                rowEnd: rowStart + rows,
                useOffsetIndex: isPart,
              });
        if (read.count !== rows)
          throw new UserError(`${where(block, read.count)}: the file ends here.`, { code: "DATA" });
        return rowsOf(read, columns);
      },
      reading: (block) => (places[block] as Place).of.reading,
      where,
      close: () => reader.close(),
    },
    { softLabels },
  );
}

function rowsOf({ count, cells, pack }: ParquetRows, columns: readonly ParquetColumn[]): Row[] {
  const bytes = new Uint8Array(pack);
  return Array.from({ length: count }, (_, row) =>
    Object.fromEntries(
      columns.map(({ name, isBinary }) => {
        const cell = cells[name]?.[row];
        // A cell of text that says nothing is null: `undefined` is for columns that the row does not have.
        if (isBinary && Array.isArray(cell))
          return [name, bytes.subarray(cell[0] as number, cell[1] as number)];
        return [name, cell ?? null];
      }),
    ),
  );
}

/** What is read of a file's columns; undefined, with a fault, where it says nothing of pairs. */
function columnsOf(
  file: ListFile,
  all: readonly ParquetColumn[],
  faults: FaultList,
): FileColumns | undefined {
  const columns = resolveColumns(all.map(({ name }) => name));
  const missing = missingColumns(columns);
  if (missing.length > 0) {
    faults.add(
      file.path,
      `it has ${missing.join(", and ")}; its columns are ${all.map(({ name }) => name).join(", ")}`,
    );
    return undefined;
  }
  const wanted = usedNames(columns);
  const imageNames = new Set(columns.images.flatMap((of) => (of.kind === "sides" ? of.names : [])));
  const used = all.filter(({ name }) => wanted.has(name));
  return {
    file,
    reading: {
      ...{ columns, split: splitOfPath(file.path) },
      ...{ folder: dirname(file.path), root: file.root },
    },
    images: used.filter(({ name, isBinary }) => isBinary && imageNames.has(name)),
    // Text that carries no annotation looks like bytes.
    text: used
      .filter(({ name, isBinary }) => !isBinary || !imageNames.has(name))
      .map((column) => ({ ...column, isBinary: false })),
  };
}

function usedNames({ prompts, images, preferences, models, seeds, gaps, ...single }: Columns): Set<string> {
  const names = new Set<string>([...prompts, ...gaps]);
  const add = (name: string | undefined): void => {
    if (name !== undefined) names.add(name);
  };
  for (const of of images) for (const name of of.kind === "sides" ? of.names : [of.name]) names.add(name);
  for (const of of preferences) {
    if (of.kind === "labels" || of.kind === "votes") of.names.forEach(add);
    else if (of.kind !== "order") add(of.name);
    if (of.kind === "winner") add(of.status);
  }
  for (const name of typeof models === "string" ? [models] : (models ?? [])) add(name);
  seeds?.forEach(add);
  for (const name of [
    single.labelled,
    single.different,
    single.examples,
    single.split,
    single.kind,
    single.annotator,
    single.trust,
    single.pair,
  ])
    add(name);
  return names;
}

function placesOf(of: FileColumns, { rowGroups }: ParquetFile, partBytes: number): Place[] {
  const tops = [...new Set(of.images.map(({ way }) => way[0] as string))];
  const places: Place[] = [];
  let rowStart = 0;
  for (const { rows, bytes, indexed } of rowGroups) {
    const size = tops.reduce((sum, name) => sum + (bytes[name] ?? 0), 0);
    const parts =
      tops.length > 0 && tops.every((name) => indexed.includes(name))
        ? Math.min(rows, Math.ceil((2 * size) / partBytes))
        : 1;
    for (let part = 0; part < Math.max(1, parts); part++) {
      const start = Math.floor((rows * part) / Math.max(1, parts));
      const end = Math.floor((rows * (part + 1)) / Math.max(1, parts));
      if (end > start)
        places.push({
          of,
          rowStart: rowStart + start,
          rows: end - start,
          bytes: Math.ceil((size * (end - start)) / rows) + TEXT * (end - start),
          isPart: parts > 1,
        });
    }
    rowStart += rows;
  }
  return places;
}
