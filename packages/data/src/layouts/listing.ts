// A list of pairs beside their images: JSON, JSONL or CSV.
import { basename, dirname, extname } from "node:path";
import { UserError } from "@spo/torch/files";
import { readText } from "@spo/torch/text-files";
import { FaultList } from "../fault-list.js";
import type { PairSource } from "../preference.js";
import { splitOfPath } from "../splits.js";
import { type Columns, missingColumns, resolveColumns } from "./columns.js";
import { readCsv } from "./csv.js";
import { jsonRecords } from "./json-records.js";
import type { Row } from "./row-pairs.js";
import { type RowTable, sourceOfTable, type TableOptions } from "./table-source.js";

/** A list's file and what its images must lie in. */
export interface ListFile {
  path: string;
  /** Undefined: anywhere. */
  root?: string;
}

interface ListedRow {
  row: Row;
  columns: Columns;
  file: ListFile;
  /** Of the file: its line, or in a JSON list its number. */
  place: string;
}

/**
 * Pairs from lists. `resolveColumns` says which names of columns mean what; paths of images are relative to the list's folder.
 *
 * Throws a UserError (`DATA`) that lists every record in which there is no pair, and says of a file without known columns what it has.
 */
export async function openListing(
  layout: "jsonl" | "csv" | "hpd",
  files: readonly ListFile[],
  options: TableOptions = {},
): Promise<PairSource> {
  const faults = new FaultList();
  const rows: ListedRow[] = [];
  for (const file of files) {
    const before = rows.length;
    for (const row of layout === "csv" ? csvRows(file, faults) : jsonRows(file, faults)) rows.push(row);
    if (rows.length === before && faults.count === 0) faults.add(file.path, "there is no record in it");
  }
  const readings = new Map(files.map((file) => [file, new Map<Columns, ReturnType<RowTable["reading"]>>()]));
  const at = (row: number): ListedRow => rows[row] as ListedRow;
  const values = rows.map(({ row }) => row);
  return sourceOfTable(
    {
      layout,
      blocks: [{ rows: rows.length, bytes: 0 }],
      isInMemory: true,
      read: async () => values,
      reading: (_, row) => {
        const { columns, file } = at(row);
        const known = readings.get(file)?.get(columns);
        if (known) return known;
        const reading = {
          ...{ columns, split: splitOfPath(file.path) },
          ...{ folder: dirname(file.path), root: file.root },
        };
        readings.get(file)?.set(columns, reading);
        return reading;
      },
      where: (_, row) => `${at(row).file.path}, ${at(row).place}`,
      close: async () => {},
    },
    { ...options, faults },
  );
}

function* jsonRows(file: ListFile, faults: FaultList): Generator<ListedRow> {
  const { path } = file;
  const isList = extname(path).toLowerCase() === ".json";
  const known = new Map<string, Columns>();
  let held: ListedRow | undefined;
  let records = 0;
  for (const { line, index, value, fault } of jsonRecords(path)) {
    const place = isList ? `record ${index}` : `line ${line}`;
    records++;
    if (fault !== undefined || typeof value !== "object" || value === null || Array.isArray(value)) {
      faults.add(`${path}, ${place}`, fault ?? "no record");
      continue;
    }
    const row = flat(value as Row);
    const names = Object.keys(row);
    const key = names.join("\0");
    const columns = known.get(key) ?? resolveColumns(names);
    known.set(key, columns);
    const missing = missingColumns(columns);
    if (columns.images.length === 0 && isList && records === 1) {
      held = { row, columns, file, place };
      continue; // perhaps no list of records at all
    }
    if (missing.length > 0) faults.add(`${path}, ${place}`, lacks(missing, names));
    else yield { row, columns, file, place };
  }
  if (!held) return;
  if (records === 1) {
    throw new UserError(`${path} holds no list of records.`, {
      code: "DATA",
      hint: "A preference set is a list [{…}, …], or one record {…} a line.",
    });
  }
  faults.add(`${path}, ${held.place}`, lacks(missingColumns(held.columns), Object.keys(held.row)));
}

/** A record with the fields of its inner records by dotted names: `images.image_1`. An image's own record stays as it is. */
function flat(record: Row): Row {
  const inner = (value: unknown): value is Row =>
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !("bytes" in value) &&
    !("path" in value);
  if (!Object.values(record).some(inner)) return record;
  return Object.fromEntries(
    Object.entries(record).flatMap(([name, value]) =>
      inner(value) ? Object.entries(value).map(([of, entry]) => [`${name}.${of}`, entry]) : [[name, value]],
    ),
  );
}

function* csvRows(file: ListFile, faults: FaultList): Generator<ListedRow> {
  const { path } = file;
  let read: ReturnType<typeof readCsv>;
  try {
    read = readCsv(readText(path), knownNames);
  } catch (error) {
    if (error instanceof UserError) throw error;
    faults.add(path, (error as Error).message);
    return;
  }
  const [header, ...body] = read.rows;
  if (!header) {
    faults.add(path, "it is empty");
    return;
  }
  const names = header.cells.map((name) => name.trim());
  const columns = resolveColumns(names.filter((name) => name !== ""));
  const missing = missingColumns(columns);
  const between = { ",": "commas", ";": "semicolons", "\t": "tabs" }[read.delimiter];
  if (knownNames(names) === 0) {
    faults.add(
      `${path}, line ${header.line}`,
      `the first row should name the columns, such as prompt,image_0,image_1,label_0; with ${between} between its cells it has ${quoted(names)}`,
    );
    return;
  }
  const twice = names.find((name, i) => name !== "" && names.indexOf(name) !== i);
  if (twice !== undefined) {
    faults.add(`${path}, line ${header.line}`, `the column ${twice} stands there twice`);
    return;
  }
  if (missing.length > 0) {
    faults.add(`${path}, line ${header.line}`, `${lacks(missing, names)}, with ${between} between its cells`);
    return;
  }
  if (body.length === 0) faults.add(path, "it has names of columns and no row below them");
  const own = [...names.entries()].filter(([, name]) => name !== "");
  for (const { line, cells } of body) {
    if (cells.slice(names.length).some((cell) => cell.trim() !== "") || cells.length < names.length) {
      faults.add(
        `${path}, line ${line}`,
        `${cells.length} cells under ${names.length} names, with ${between} between them`,
      );
      continue;
    }
    yield {
      row: Object.fromEntries(own.map(([i, name]) => [name, cells[i] as string])),
      columns,
      file,
      place: `line ${line}`,
    };
  }
}

/** How many of these are names of columns that mean something. */
function knownNames(names: readonly string[]): number {
  const { prompts, images, preferences, labelled, different, split, models, annotator } =
    resolveColumns(names);
  const found = [labelled, different, split, models, annotator].filter((name) => name !== undefined);
  return prompts.length + 2 * images.length + preferences.length + found.length;
}

const lacks = (missing: readonly string[], names: readonly string[]): string =>
  `it has ${missing.join(", and ")}; its columns are ${names.slice(0, 20).join(", ") || "none"}`;

const quoted = (cells: readonly string[]): string =>
  cells
    .slice(0, 8)
    .map((cell) => JSON.stringify(cell.slice(0, 40)))
    .join(", ") + (cells.length > 8 ? ", …" : "");

/** Files that Hugging Face's `datasets` writes beside its data, which hold no pairs. */
export const isAboutData = (path: string): boolean =>
  /^(dataset_infos?|dataset_dict|state|config|package|preprocessor_config)\.json$/i.test(basename(path));
