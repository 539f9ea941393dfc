// From the rows of a table to preference pairs, whatever file the table stands in.
import { isAbsolute, relative, resolve, sep } from "node:path";
import type { EncodedImage, PairFacts, SoftLabels } from "../preference.js";
import {
  flagIn,
  isEmpty,
  listIn,
  type Numbering,
  numberIn,
  type SideNames,
  textIn,
  winnerIn,
} from "./cells.js";
import type { Columns, ImageColumns, PreferenceColumns } from "./columns.js";
import { scorerOfGap } from "./gap-columns.js";
import { pairsOfRanking } from "./ranking.js";

/** A row by the names of its columns. */
export type Row = Readonly<Record<string, unknown>>;

/** What a row is read with. */
export interface RowReading {
  columns: Columns;
  softLabels: SoftLabels;
  /** Of the numbers in `winner` columns, by the column's name. */
  numbering: ReadonlyMap<string, Numbering | undefined>;
  /** Of a row that does not say it. */
  split: string;
  /** Where relative paths of images begin. */
  folder: string;
  /** What images must not lie outside of. */
  root?: string;
}

/** One vote that a row holds, where rows are votes. */
export interface RowVote {
  /** Share of the first image; undefined for no opinion. */
  label0: number | undefined;
  trust: number;
}

/** The images of a row, in its order, as they stand in it. */
export function imagesOf(row: Row, { columns }: Pick<RowReading, "columns">): unknown[] | undefined {
  const found = presentImages(row, columns);
  if (found?.kind === "sides") return found.names.map((name) => row[name]);
  return found && listIn(row[found.name]);
}

/** The first columns of images that this row has something in; else the first. */
function presentImages(row: Row, { images }: Columns): ImageColumns | undefined {
  const has = (columns: ImageColumns): boolean =>
    columns.kind === "list" ? !isEmpty(row[columns.name]) : columns.names.some((name) => hasImage(row[name]));
  return images.find(has) ?? images[0];
}

function hasImage(value: unknown): boolean {
  if (isEmpty(value)) return false;
  if (typeof value !== "object" || value instanceof Uint8Array) return true;
  const { bytes, ...rest } = value as Record<string, unknown>;
  return bytes instanceof Uint8Array || Object.values(rest).some((entry) => typeof entry === "string");
}

/** Whether each row is a vote of somebody, several of which may be about one pair. */
export function areVotes({ columns }: Pick<RowReading, "columns">): boolean {
  const { preferences, annotator, trust, pair } = columns;
  return preferences[0]?.kind === "winner" && (annotator ?? trust ?? pair) !== undefined;
}

/** The preference columns that a row has something in. */
const presentPreference = (row: Row, { preferences }: Columns): PreferenceColumns | undefined =>
  preferences.find((columns) => {
    switch (columns.kind) {
      case "labels":
      case "votes":
        return columns.names.some((name) => name !== undefined && !isEmpty(row[name]));
      case "order":
        return true;
      default:
        return !isEmpty(row[columns.name]);
    }
  });

/** What a row says of all its pairs. */
export function sharedFacts(row: Row, reading: RowReading): Omit<PairFacts, "label0" | "label1"> {
  const { columns, split } = reading;
  const faults: string[] = [];
  const flag = (name: string | undefined): boolean => {
    if (name === undefined || row[name] === undefined) return true;
    const value = flagIn(row[name]);
    if (value === undefined) faults.push(`${name} is ${shown(row[name])}, neither yes nor no`);
    return value ?? true;
  };
  const prompt = columns.prompts.map((name) => textIn(row[name])).find((text) => text.trim() !== "") ?? "";
  const examples = columns.examples === undefined ? Number.NaN : numberIn(row[columns.examples]);
  const text = (name: string | undefined): string | undefined =>
    (name === undefined ? "" : textIn(row[name]).trim()) || undefined;
  const labelled = flag(columns.labelled);
  const different = flag(columns.different);
  return {
    prompt,
    examples: Number.isInteger(examples) && examples >= 1 ? examples : undefined,
    labelled,
    different,
    split: text(columns.split) ?? split,
    kind: text(columns.kind),
    ...(faults.length > 0 ? { faults } : {}),
  };
}

/** A pair of a row: which of its images, and what is said of them. */
export interface RowPair {
  first: number;
  second: number;
  /** NaN where nobody has judged it. */
  label0: number;
  label1: number;
  isJudged: boolean;
  fault?: string;
}

/** The pairs that a row says, or why it says none. count: of its images. */
export function* pairsOfRow(row: Row, count: number, reading: RowReading): Generator<RowPair> {
  const { columns, softLabels } = reading;
  const two = (label0: number, label1 = 1 - label0): RowPair => ({
    ...{ first: 0, second: 1, label0, label1 },
    isJudged: true,
  });
  const none = (fault?: string): RowPair => ({
    ...{ first: 0, second: 1, label0: Number.NaN, label1: Number.NaN },
    ...{ isJudged: false, fault },
  });
  const isUnjudged =
    columns.labelled !== undefined &&
    row[columns.labelled] !== undefined &&
    flagIn(row[columns.labelled]) === false;
  const preference = presentPreference(row, columns);
  if (isUnjudged && (preference === undefined || preference.kind === "order")) {
    for (const { first, second } of pairsOfRanking(Array<number>(count).fill(0)))
      yield { ...none(), first, second };
    return;
  }
  if (preference === undefined) {
    yield none(emptyPreference(columns));
    return;
  }
  if (count !== 2 && preference.kind !== "ranking" && preference.kind !== "order") {
    yield none(`${count} images need a ranking; two labels are of two images`);
    return;
  }
  switch (preference.kind) {
    case "labels": {
      const [label0, label1] = preference.names.map((name) =>
        name === undefined || isEmpty(row[name]) ? undefined : numberIn(row[name]),
      );
      const bad = preference.names.find(
        (name) => name !== undefined && !isEmpty(row[name]) && Number.isNaN(numberIn(row[name])),
      );
      if (bad !== undefined) yield none(`${bad} is ${shown(row[bad])}, no number`);
      else yield two(label0 ?? 1 - (label1 as number), label1 ?? 1 - (label0 as number));
      return;
    }
    case "label list": {
      const labels = listIn(row[preference.name])?.map(numberIn) ?? [];
      if (labels.length !== 2 || labels.some(Number.isNaN))
        yield none(`${preference.name} is ${shown(row[preference.name])}: two images need two labels`);
      else yield two(labels[0] as number, labels[1] as number);
      return;
    }
    case "votes":
    case "vote list": {
      const cells =
        preference.kind === "votes"
          ? preference.names.map((name) => row[name])
          : listIn(row[preference.name]);
      const said = preference.kind === "votes" ? preference.names.join(" and ") : preference.name;
      const votes = cells?.map((cell) => (isEmpty(cell) ? 0 : numberIn(cell))) ?? [];
      if (votes.length !== 2 || votes.some((count) => !(count >= 0 && Number.isFinite(count))))
        yield none(`${said}: ${shown(cells)} are no two numbers of votes`);
      else {
        const label0 = shareOf(votes[0] as number, votes[1] as number, softLabels);
        if (label0 === undefined) yield none();
        else yield two(label0);
      }
      return;
    }
    case "ranking":
    case "order": {
      const ranks =
        preference.kind === "order"
          ? Array.from({ length: count }, (_, place) => place)
          : (listIn(row[preference.name])?.map(numberIn) ?? []);
      if (ranks.length !== count || ranks.some(Number.isNaN))
        yield none(`${count} images need as many ranks`);
      else
        for (const { label0, ...places } of pairsOfRanking(ranks))
          yield { ...places, label0, label1: 1 - label0, isJudged: true };
      return;
    }
    case "winner": {
      const vote = votesIn(row, preference, reading);
      if (typeof vote === "object") yield none(vote.fault);
      else if (vote === undefined) yield none();
      else yield two(vote);
      return;
    }
  }
}

/** What a row's `winner` cell makes of the first image; undefined where nobody has an opinion. */
export function votesIn(
  row: Row,
  { name, status }: PreferenceColumns & { kind: "winner" },
  reading: RowReading,
): number | undefined | { fault: string } {
  const sides = sideNames(row, name, reading);
  const value = row[name];
  const entries = Array.isArray(value)
    ? value
    : typeof value === "string" && /^\s*\[/.test(value)
      ? listIn(value)
      : undefined;
  if (entries === undefined) return winnerIn(value, sides);
  const states = status === undefined ? undefined : listIn(row[status]);
  let [first, all] = [0, 0];
  for (const [i, entry] of entries.entries()) {
    const { value: said, state } = responseOf(entry);
    const standing = state ?? states?.[i];
    if (typeof standing === "string" && standing !== "submitted") continue; // a draft, or taken back
    const vote = winnerIn(said, sides);
    if (typeof vote === "object") return { fault: `${name}: ${vote.fault}` };
    if (vote === undefined) continue;
    first += vote;
    all += 1;
  }
  return all === 0 ? undefined : shareOf(first, all - first, reading.softLabels);
}

/** An entry of a list of answers: the answer itself, or a record { value, status }. */
function responseOf(entry: unknown): { value: unknown; state?: unknown } {
  if (typeof entry !== "object" || entry === null || Array.isArray(entry)) return { value: entry };
  const { value, status, ...rest } = entry as Record<string, unknown>;
  return { value: value ?? rest.response ?? rest.answer ?? rest.label, state: status };
}

function sideNames(row: Row, name: string, { columns, numbering }: RowReading): SideNames {
  const two = columns.images.find((images) => images.kind === "sides");
  const pathOf = (value: unknown): string =>
    typeof value === "string"
      ? value
      : typeof value === "object" && value !== null && "path" in value
        ? textIn(value.path)
        : "";
  const named = columns.aliases.map(([a, b]): [string, string] => [pathOf(row[a]), pathOf(row[b])]);
  const models = modelsOf(row, columns);
  return {
    markers: two?.kind === "sides" ? two.markers : ["0", "1"],
    names: [...named, ...columns.aliases, ...(models ? [models] : [])].filter(
      ([a, b]) => a !== "" && b !== "",
    ),
    numbering: numbering.get(name),
  };
}

function modelsOf(row: Row, { models }: Columns): [string, string] | undefined {
  if (models === undefined || typeof models === "string") return undefined;
  const [model0, model1] = models.map((name) => (name === undefined ? "" : textIn(row[name]).trim()));
  return [model0 ?? "", model1 ?? ""];
}

/** The models and seeds of two of a row's images, where it names them. */
export function originsOf(
  row: Row,
  { first, second }: Pick<RowPair, "first" | "second">,
  { models, seeds }: Columns,
): Pick<PairFacts, "model0" | "model1" | "seed0" | "seed1"> {
  const origins: Pick<PairFacts, "model0" | "model1" | "seed0" | "seed1"> = {};
  if (models !== undefined) {
    const listed =
      typeof models === "string"
        ? listIn(row[models])
        : models.map((name) => (name === undefined ? undefined : row[name]));
    const [model0, model1] = [textIn(listed?.[first]).trim(), textIn(listed?.[second]).trim()];
    if (model0 !== "") origins.model0 = model0;
    if (model1 !== "") origins.model1 = model1;
  }
  const seed = (name: string | undefined): number =>
    name === undefined || isEmpty(row[name]) ? Number.NaN : numberIn(row[name]);
  if (seeds !== undefined) {
    const [seed0, seed1] = [seed(seeds[first]), seed(seeds[second])];
    if (Number.isSafeInteger(seed0)) origins.seed0 = seed0;
    if (Number.isSafeInteger(seed1)) origins.seed1 = seed1;
  }
  return origins;
}

/** The gaps that a row has in the columns of gaps. Cells without a number are passed over. */
export function gapsIn(row: Row, columns: readonly string[]): Pick<PairFacts, "gaps"> {
  const found = columns.flatMap((column) => {
    const gap = isEmpty(row[column]) ? Number.NaN : numberIn(row[column]);
    return Number.isNaN(gap) ? [] : [[scorerOfGap(column) as string, gap] as const];
  });
  return found.length > 0 ? { gaps: Object.fromEntries(found) } : {};
}

/** The share of the first of two numbers of votes; undefined when there are none. Shares are not smoothed: they say no number. */
export function shareOf(first: number, second: number, how: SoftLabels): number | undefined {
  const all = first + second;
  if (!(all > 0)) return undefined;
  if (how === "majority") return first === second ? 0.5 : first > second ? 1 : 0;
  const areShares = Math.abs(all - 1) < 1e-6 && !Number.isInteger(first);
  return how === "smoothed" && !areShares ? (first + 1) / (all + 2) : first / all;
}

/** An image as a cell has it: bytes, a path, or both; a fault for what is none. */
export function imageIn(
  value: unknown,
  { folder, root }: Pick<RowReading, "folder" | "root">,
): EncodedImage | { fault: string } {
  if (value instanceof Uint8Array) return value;
  if (typeof value === "string") return fileIn(value.trim(), folder, root);
  if (typeof value === "object" && value !== null) {
    const { bytes, path, file, file_name: name } = value as Record<string, unknown>;
    if (bytes instanceof Uint8Array && bytes.byteLength > 0) return bytes;
    const given = [path, file, name].find((entry) => typeof entry === "string" && entry.trim() !== "");
    if (typeof given === "string") return fileIn(given.trim(), folder, root);
  }
  return { fault: "it has no image" };
}

function fileIn(name: string, folder: string, root: string | undefined): EncodedImage | { fault: string } {
  if (name === "") return { fault: "it has no image" };
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(name)) return { fault: "its images are addresses: fetch them first" };
  return { path: resolve(folder, name), root };
}

/** Whether a path is a folder's or below it, by its name alone. */
export function liesWithin(path: string, root: string): boolean {
  if (path.startsWith(root + sep)) return true; // both are resolved
  const way = relative(root, path);
  return way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}

function emptyPreference({ preferences }: Columns): string {
  const names = preferences.flatMap((columns) =>
    columns.kind === "order"
      ? []
      : columns.kind === "labels" || columns.kind === "votes"
        ? columns.names
        : [columns.name],
  );
  return `says of no image that it is preferred: ${names.filter(Boolean).join(", ") || "there is no such column"} ${names.length > 0 ? "is empty" : ""}`.trim();
}

const shown = (value: unknown): string => {
  const text = typeof value === "bigint" ? String(value) : (JSON.stringify(value) ?? "nothing");
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
};
