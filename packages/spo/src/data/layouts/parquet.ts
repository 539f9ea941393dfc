// Pick-a-Pic's columns in parquet files: one file, several, or folders of shards.
import { UserError } from "@spo/torch/files";
import { ParquetReader, type ParquetReaderOptions } from "../parquet-reader.js";
import type { ParquetFile, ParquetRows } from "../parquet-worker.js";
import type { PairBlock, PairFacts, PairSource, PreferencePair } from "../preference.js";
import { splitOfPath } from "../splits.js";

const NEEDED = ["caption", "jpg_0", "jpg_1", "label_0"];
const OPTIONAL = ["label_1", "num_example_per_prompt", "has_label", "are_different", "split", "kind"];
const IMAGES = ["jpg_0", "jpg_1"];

export interface ParquetPairsOptions extends ParquetReaderOptions {
  /** Images of a row group beyond half of this are read in parts, where the file has an index of its pages. */
  partBytes?: number;
}

/** For the text of a pair. */
const TEXT = 300;

interface Place extends PairBlock {
  path: string;
  columns: string[];
  /** In the file. */
  rowStart: number;
  /** Part of a row group. */
  isPart: boolean;
}

/**
 * v1 and v2 of Pick-a-Pic have the same columns for this purpose; all but the caption, the images and label_0 may be missing.
 *
 * Reads row group by row group. Throws UserErrors (`DATA`) for files that are damaged or have other columns.
 */
export async function openParquetPairs(
  paths: readonly string[],
  { partBytes = 32 << 20, ...limits }: ParquetPairsOptions = {},
): Promise<PairSource> {
  const reader = new ParquetReader(limits);
  const places: Place[] = [];
  try {
    for (const path of paths) places.push(...placesOf(path, await reader.open(path), partBytes));
  } catch (error) {
    await reader.close();
    throw error;
  }

  const read = (block: number, images: boolean): Promise<ParquetRows> => {
    const { path, columns, rowStart, rows, isPart } = places[block] as Place;
    return reader.read({
      path,
      columns: images ? columns : columns.filter((name) => !IMAGES.includes(name)),
      binary: images ? IMAGES : [],
      rowStart,
      rowEnd: rowStart + rows,
      useOffsetIndex: isPart,
    });
  };
  const where = (block: number, row: number): string => {
    const { path, rowStart } = places[block] as Place;
    return `${path}, row ${rowStart + row}`;
  };
  const factsOf = (block: number, { count, cells }: ParquetRows): PairFacts[] => {
    const split = splitOfPath((places[block] as Place).path);
    const { rows } = places[block] as Place;
    if (count !== rows) throw new UserError(`${where(block, count)}: the file ends here.`, { code: "DATA" });
    return Array.from({ length: count }, (_, row) => {
      const cell = (name: string): unknown => cells[name]?.[row];
      const label0 = numberOf(cell("label_0"));
      const examples = numberOf(cell("num_example_per_prompt"));
      return {
        prompt: typeof cell("caption") === "string" ? (cell("caption") as string) : "",
        label0,
        label1: cells.label_1 ? numberOf(cell("label_1")) : 1 - label0,
        examples: examples >= 1 ? examples : undefined,
        labelled: cell("has_label") !== false,
        different: cell("are_different") !== false,
        split: typeof cell("split") === "string" ? (cell("split") as string) : split,
        kind: typeof cell("kind") === "string" ? (cell("kind") as string) : undefined,
      };
    });
  };

  return {
    layout: "parquet",
    blocks: places,
    where,
    facts: async (block) => factsOf(block, await read(block, false)),
    pairs: async (block) => {
      const rows = await read(block, true);
      const pack = new Uint8Array(rows.pack);
      const image = (name: string, row: number): Uint8Array => {
        const place = rows.cells[name]?.[row] as [number, number] | undefined;
        return place ? pack.subarray(...place) : new Uint8Array(0); // an empty cell does not decode, and is told of then
      };
      return factsOf(block, rows).map(
        (facts, row): PreferencePair => ({
          ...facts,
          image0: image("jpg_0", row),
          image1: image("jpg_1", row),
        }),
      );
    },
    close: () => reader.close(),
  };
}

function placesOf(path: string, { columns, rowGroups }: ParquetFile, partBytes: number): Place[] {
  const missing = NEEDED.filter((name) => !columns.includes(name));
  if (missing.length > 0) {
    throw new UserError(`${path} has no column ${missing.join(", ")}; it has ${columns.join(", ")}.`, {
      code: "DATA",
      hint: "Preference pairs have Pick-a-Pic's columns: caption, jpg_0, jpg_1, label_0, label_1.",
    });
  }
  const present = [...NEEDED, ...OPTIONAL].filter((name) => columns.includes(name));
  const places: Place[] = [];
  let rowStart = 0;
  for (const { rows, bytes, indexed } of rowGroups) {
    const size = IMAGES.reduce((sum, name) => sum + (bytes[name] ?? 0), 0);
    const parts = IMAGES.every((name) => indexed.includes(name))
      ? Math.min(rows, Math.ceil((2 * size) / partBytes))
      : 1;
    for (let part = 0; part < Math.max(1, parts); part++) {
      const start = Math.floor((rows * part) / Math.max(1, parts));
      const end = Math.floor((rows * (part + 1)) / Math.max(1, parts));
      if (end > start)
        places.push({
          path,
          columns: present,
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

const numberOf = (value: unknown): number => (typeof value === "number" ? value : Number.NaN);
