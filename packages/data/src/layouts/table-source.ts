// A preference set whose pairs stand in the rows of a table: parquet, JSON, JSONL, CSV.
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { FaultList } from "../fault-list.js";
import type {
  EncodedImage,
  Layout,
  PairBlock,
  PairFacts,
  PairSource,
  PreferencePair,
  SoftLabels,
} from "../preference.js";
import { isEmpty, type Numbering, numberIn, numberingOf } from "./cells.js";
import type { Columns } from "./columns.js";
import { scorerOfGap } from "./gap-columns.js";
import {
  areVotes,
  gapsIn,
  imageIn,
  imagesOf,
  liesWithin,
  originsOf,
  pairsOfRow,
  type Row,
  type RowPair,
  type RowReading,
  sharedFacts,
  shareOf,
  votesIn,
} from "./row-pairs.js";

/** Rows of one or more files. */
export interface RowTable {
  readonly layout: Layout;
  readonly blocks: readonly PairBlock[];
  /** Reading a block costs nothing. */
  readonly isInMemory: boolean;
  /** The rows of a block; without `images` the cells that hold encoded images may be missing. */
  read(block: number, images: boolean): Promise<readonly Row[]>;
  /** How a row is read: the same object for rows that are read alike. */
  reading(block: number, row: number): Pick<RowReading, "columns" | "split" | "folder" | "root">;
  where(block: number, row: number): string;
  close(): Promise<void>;
}

/** What is made of a table's rows. */
export interface TableOptions {
  /** How votes become labels; default `share`. */
  softLabels?: SoftLabels;
}

/** Pairs of a block in memory: so many share the order of an epoch. */
const PAIRS = 256;
/** About what a pair takes without its images. */
const TEXT = 500;

/** A pair by the row that it stands in. */
interface Entry extends RowPair {
  row: number;
}

/**
 * The pairs of a table. Rows with a ranked list give several, rows that are votes give one for all that are about the same two images.
 *
 * faults: what was found before. Throws a UserError (`DATA`) that lists them and the rows in which there is no pair.
 */
export async function sourceOfTable(
  table: RowTable,
  { softLabels = "share", faults = new FaultList() }: TableOptions & { faults?: FaultList } = {},
): Promise<PairSource> {
  try {
    const columns = distinctColumns(table);
    const isIndexed =
      table.isInMemory || columns.some((of) => areVotes({ columns: of }) || of.images[0]?.kind === "list");
    const numbering = columns.some(({ preferences }) => preferences.some(({ kind }) => kind === "winner"))
      ? await surveyNumbers(table)
      : new Map<string, Numbering | undefined>();
    const readings = new Map<ReturnType<RowTable["reading"]>, RowReading>();
    const readingOf = (block: number, row: number): RowReading => {
      const known = table.reading(block, row);
      const reading = readings.get(known) ?? { ...known, softLabels, numbering };
      readings.set(known, reading);
      return reading;
    };
    const entries = isIndexed ? await indexRows(table, readingOf, faults) : undefined;
    const gapScorers = new Set(
      columns.flatMap(({ gaps }) => gaps.map((name) => scorerOfGap(name) as string)),
    );
    return source(table, readingOf, entries, [...gapScorers]);
  } catch (error) {
    await table.close();
    throw error;
  }
}

function source(
  table: RowTable,
  readingOf: (block: number, row: number) => RowReading,
  entries: readonly (readonly Entry[])[] | undefined,
  gapScorers: readonly string[],
): PairSource {
  const places = entries
    ? slices(table, entries)
    : table.blocks.map((_, block) => ({ block, entries: undefined }));
  const entriesOf = (place: number, rows: readonly Row[]): readonly Entry[] => {
    const { block, entries: known } = places[place] as (typeof places)[number];
    if (known) return known;
    return rows.map((row, at): Entry => {
      const [pair] = pairsOfRow(row, 2, readingOf(block, at));
      return { ...(pair as RowPair), row: at };
    });
  };
  const factsOf = (block: number, rows: readonly Row[], entry: Entry): PairFacts => {
    const row = rows[entry.row] as Row;
    const reading = readingOf(block, entry.row);
    const shared = sharedFacts(row, reading);
    const facts: PairFacts = Object.assign(shared, {
      label0: entry.label0,
      label1: entry.label1,
      labelled: shared.labelled && (entry.isJudged || entry.fault !== undefined),
    });
    Object.assign(facts, originsOf(row, entry, reading.columns), gapsIn(row, reading.columns.gaps));
    if (entry.fault !== undefined && facts.labelled) facts.faults = [...(facts.faults ?? []), entry.fault];
    return facts;
  };
  const rowsOf = (place: number, images: boolean): Promise<readonly Row[]> =>
    table.read(places[place]?.block ?? 0, images);
  return {
    layout: table.layout,
    gapScorers,
    blocks: places.map(({ block, entries: known }) => {
      const whole = table.blocks[block] as PairBlock;
      if (!known) return whole;
      const bytes = table.isInMemory ? 0 : (whole.bytes * known.length) / Math.max(1, whole.rows);
      return { rows: known.length, bytes: Math.ceil(bytes) + TEXT * known.length };
    }),
    where: (place, at) => {
      const { block, entries: known } = places[place] as (typeof places)[number];
      return table.where(block, known ? (known[at]?.row ?? 0) : at);
    },
    facts: async (place) => {
      const rows = await rowsOf(place, false);
      return entriesOf(place, rows).map((entry) => factsOf(places[place]?.block ?? 0, rows, entry));
    },
    pairs: async (place) => {
      const rows = await rowsOf(place, true);
      const { block } = places[place] as (typeof places)[number];
      return entriesOf(place, rows).map((entry): PreferencePair => {
        const facts = factsOf(block, rows, entry);
        const reading = readingOf(block, entry.row);
        const cells = imagesOf(rows[entry.row] as Row, reading) ?? [];
        const faults = [...(facts.faults ?? [])];
        const image = (at: number): EncodedImage => {
          const found = imageIn(cells[at], reading);
          if (!("fault" in found)) return withEnding(found);
          faults.push(found.fault);
          return new Uint8Array(0);
        };
        const [image0, image1] = [image(entry.first), image(entry.second)];
        return { ...facts, ...(faults.length > 0 ? { faults } : {}), image0, image1 };
      });
    },
    close: () => table.close(),
  };
}

/** Parts of blocks that are read together: of what is in memory, so many pairs at a time, over the bounds of files. */
function slices(
  table: RowTable,
  entries: readonly (readonly Entry[])[],
): { block: number; entries: readonly Entry[] }[] {
  if (!table.isInMemory) return entries.map((of, block) => ({ block, entries: of }));
  return entries.flatMap((of, block) =>
    Array.from({ length: Math.ceil(of.length / PAIRS) }, (_, part) => ({
      block,
      entries: of.slice(part * PAIRS, (part + 1) * PAIRS),
    })),
  );
}

/** Each set of columns that rows of the table have, once. */
function distinctColumns(table: RowTable): Columns[] {
  const found = new Set<Columns>();
  for (const [block, { rows }] of table.blocks.entries()) {
    // In files on the disk all rows of a block have the same.
    for (let row = 0; row < (table.isInMemory ? rows : Math.min(rows, 1)); row++)
      found.add(table.reading(block, row).columns);
  }
  return [...found];
}

/** How the numbers of each `winner` column are meant, from all of them. */
async function surveyNumbers(table: RowTable): Promise<Map<string, Numbering | undefined>> {
  const values = new Map<string, { numbers: Set<number>; markers: readonly [string, string] }>();
  for (const block of table.blocks.keys()) {
    for (const [at, row] of (await table.read(block, false)).entries()) {
      const { preferences, images } = table.reading(block, at).columns;
      for (const columns of preferences) {
        if (columns.kind !== "winner") continue;
        const two = images.find(({ kind }) => kind === "sides");
        const markers = two?.kind === "sides" ? two.markers : (["0", "1"] as const);
        const seen = values.get(columns.name) ?? { numbers: new Set(), markers };
        values.set(columns.name, seen);
        const cell = row[columns.name];
        for (const value of Array.isArray(cell) ? cell : [cell]) {
          const number = typeof value === "boolean" || isEmpty(value) ? Number.NaN : numberIn(value);
          if (!Number.isNaN(number) && seen.numbers.size < 32) seen.numbers.add(number);
        }
      }
    }
  }
  return new Map(
    [...values].map(([name, { numbers, markers }]) => [name, numberingOf(numbers, name, markers)]),
  );
}

/** All pairs by their rows, block by block. */
async function indexRows(
  table: RowTable,
  readingOf: (block: number, row: number) => RowReading,
  faults: FaultList,
): Promise<Entry[][]> {
  const ballots = new Map<string, Ballot>();
  const entries: Entry[][] = [];
  for (const block of table.blocks.keys()) {
    const of: Entry[] = [];
    entries.push(of);
    let rows = await table.read(block, false);
    const needsImages = (row: Row, at: number): boolean =>
      areVotes(readingOf(block, at)) && identityOf(row, readingOf(block, at)) === undefined;
    if (rows.some(needsImages)) rows = await table.read(block, true);
    for (const [at, row] of rows.entries()) {
      const reading = readingOf(block, at);
      const where = table.where(block, at);
      const images = imagesOf(row, reading);
      if (!images || images.length < 2) {
        faults.add(where, "it names no two images");
        continue;
      }
      // Of a table on the disk the cells of images are not read here.
      const fault = table.isInMemory ? faultOfImages(images, reading) : undefined;
      if (fault) {
        faults.add(where, ...fault);
        continue;
      }
      if (areVotes(reading)) {
        addVote(ballots, { block, row: at, entries: of, table: row, reading, where, faults });
        continue;
      }
      for (const pair of pairsOfRow(row, images.length, reading)) {
        if (pair.fault !== undefined && images.length !== 2) faults.add(where, pair.fault);
        else of.push({ ...pair, row: at });
      }
    }
  }
  for (const ballot of ballots.values()) settle(ballot, readingOf);
  faults.throwIfAny(
    "The preference set",
    faults.has("outside")
      ? "With --allow-outside images may lie anywhere; do so only for lists that you trust."
      : undefined,
  );
  return entries;
}

/** What is wrong with a row's images by their names alone, with a tag where they lie outside. */
function faultOfImages(cells: readonly unknown[], reading: RowReading): [string, string?] | undefined {
  for (const cell of cells) {
    const image = imageIn(cell, reading);
    if ("fault" in image) return [image.fault === "it has no image" ? "it names no two images" : image.fault];
    if (image instanceof Uint8Array || image.root === undefined || liesWithin(image.path, image.root))
      continue;
    return [`its image ${JSON.stringify(cell)} lies outside of ${image.root}`, "outside"];
  }
  return undefined;
}

/** The votes on one pair so far. */
interface Ballot {
  entry: Entry;
  block: number;
  /** The entry's images stand against the order of their names. */
  isSwapped: boolean;
  first: number;
  all: number;
}

function addVote(
  ballots: Map<string, Ballot>,
  {
    block,
    row,
    entries,
    table,
    reading,
    where,
    faults,
  }: {
    block: number;
    row: number;
    entries: Entry[];
    table: Row;
    reading: RowReading;
    where: string;
    faults: FaultList;
  },
): void {
  const identity = identityOf(table, reading);
  if (identity === undefined) {
    faults.add(where, "it names no two images");
    return;
  }
  const { prompt, split } = sharedFacts(table, reading);
  const [a, b] = identity;
  const isSwapped = a > b;
  const key = JSON.stringify([prompt, split, isSwapped ? b : a, isSwapped ? a : b]);
  const [preference] = reading.columns.preferences;
  if (preference?.kind !== "winner") return;
  const vote = votesIn(table, preference, reading);
  const trust =
    reading.columns.trust === undefined || isEmpty(table[reading.columns.trust])
      ? 1
      : numberIn(table[reading.columns.trust]);
  let known = ballots.get(key);
  if (!known) {
    const entry: Entry = {
      row,
      first: 0,
      second: 1,
      label0: Number.NaN,
      label1: Number.NaN,
      isJudged: false,
    };
    known = { entry, block, isSwapped, first: 0, all: 0 };
    ballots.set(key, known);
    entries.push(entry);
  }
  if (typeof vote === "object") {
    known.entry.fault ??= vote.fault;
    return;
  }
  if (!(trust >= 0 && Number.isFinite(trust))) {
    known.entry.fault ??= `${reading.columns.trust} is ${JSON.stringify(table[reading.columns.trust ?? ""])}, no weight from 0`;
    return;
  }
  if (vote === undefined) return;
  // By the pair's own first image: a later row may show the two the other way round.
  const isTurned = known.isSwapped !== isSwapped;
  known.first += trust * (isTurned ? 1 - vote : vote);
  known.all += trust;
}

function settle(
  { entry, block, first, all }: Ballot,
  readingOf: (block: number, row: number) => RowReading,
): void {
  const label0 = shareOf(first, all - first, readingOf(block, entry.row).softLabels);
  entry.isJudged = label0 !== undefined;
  entry.label0 = label0 ?? Number.NaN;
  entry.label1 = 1 - entry.label0;
}

/** By what a row's two images are known: identifiers or paths, else a hash of their bytes. Undefined where they are not read. */
function identityOf(row: Row, reading: RowReading): [string, string] | undefined {
  const { images } = reading.columns;
  const candidates = [...images].sort((a, b) => Number(isIds(b)) - Number(isIds(a)));
  for (const columns of candidates) {
    if (columns.kind !== "sides") continue;
    const [a, b] = columns.names.map((name) => known(row[name]));
    if (a !== undefined && b !== undefined) return [a, b];
  }
  return undefined;
}

const isIds = (columns: Columns["images"][number]): boolean => columns.kind === "sides" && columns.areIds;

function known(value: unknown): string | undefined {
  if (isEmpty(value)) return undefined;
  if (typeof value === "string" || typeof value === "number") return String(value);
  const bytes =
    value instanceof Uint8Array
      ? value
      : typeof value === "object" && value !== null && "bytes" in value
        ? value.bytes
        : undefined;
  if (bytes instanceof Uint8Array && bytes.byteLength > 0)
    return createHash("sha256").update(bytes).digest("hex");
  return typeof value === "object" && value !== null && "path" in value && typeof value.path === "string"
    ? value.path
    : undefined;
}

/** A file whose list names it without its ending. */
function withEnding(image: EncodedImage): EncodedImage {
  if (image instanceof Uint8Array || /\.(png|jpe?g|webp)$/i.test(image.path)) return image;
  const found = [".png", ".jpg", ".jpeg", ".webp"].find((ending) => existsSync(image.path + ending));
  return found === undefined || existsSync(image.path) ? image : { ...image, path: image.path + found };
}
