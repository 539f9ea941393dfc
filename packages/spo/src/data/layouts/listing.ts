// A list of pairs beside their images: JSONL or CSV.
import { dirname, resolve } from "node:path";
import { linesOf, readText } from "@spo/torch/text-files";
import { FaultList } from "../fault-list.js";
import type { PairSource } from "../preference.js";
import { splitOfPath } from "../splits.js";
import { parseCsv } from "./csv.js";
import { type ListedPair, type ListRecord, listedSource, pairsOfRecord } from "./listed.js";

/** Joins names and ranks of a ranked list in one CSV cell. */
const LIST_MARK = "|";

/**
 * A record has a `prompt` (or `caption`) and either `image_0`, `image_1`, `label_0`, `label_1`, or `images`, a list of paths, with
 * `labels`, a `ranking` (one an image, smaller is better, equal ones tie) or neither: then the best stands first. In CSV a list is
 * `a.png|b.png|c.png`. Paths are relative to the list's folder.
 *
 * Throws a UserError (`DATA`) that lists every record which is none.
 */
export function openListing(layout: "jsonl" | "csv", paths: readonly string[]): PairSource {
  const faults = new FaultList();
  const listed: ListedPair[] = [];
  for (const path of paths) {
    const split = splitOfPath(path);
    const imagePath = (name: string): string => resolve(dirname(path), name);
    for (const { line, record } of layout === "jsonl" ? jsonRecords(path, faults) : csvRecords(path, faults))
      listed.push(...pairsOfRecord(record, { where: `${path}, line ${line}`, split, imagePath, faults }));
  }
  faults.throwIfAny(paths.join(", "));
  return listedSource(layout, listed);
}

type LinedRecord = { line: number; record: ListRecord };

function* jsonRecords(path: string, faults: FaultList): Generator<LinedRecord> {
  for (const [i, text] of linesOf(readText(path)).entries()) {
    if (text.trim() === "") continue;
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      faults.add(`${path}, line ${i + 1}`, `no JSON: ${(error as Error).message}`);
      continue;
    }
    if (typeof value !== "object" || value === null || Array.isArray(value))
      faults.add(`${path}, line ${i + 1}`, "no record");
    else yield { line: i + 1, record: recordOf(value as Record<string, unknown>) };
  }
}

function* csvRecords(path: string, faults: FaultList): Generator<LinedRecord> {
  const text = readText(path);
  let rows: ReturnType<typeof parseCsv>;
  try {
    rows = parseCsv(text);
  } catch (error) {
    faults.add(path, (error as Error).message);
    return;
  }
  const [header, ...body] = rows;
  const names = (header?.cells ?? []).map((name) => name.trim());
  for (const { line, cells } of body) {
    if (cells.length !== names.length) {
      faults.add(`${path}, line ${line}`, `${cells.length} cells under ${names.length} names`);
      continue;
    }
    const fields = Object.fromEntries(names.map((name, i) => [name, cellValue(name, cells[i] as string)]));
    yield { line, record: recordOf(fields) };
  }
}

function recordOf(fields: Record<string, unknown>): ListRecord {
  const isPair = fields.image_0 !== undefined || fields.image_1 !== undefined;
  const pairLabels =
    fields.label_0 === undefined && fields.label_1 === undefined
      ? undefined
      : [fields.label_0, fields.label_1 ?? 1 - Number(fields.label_0)];
  return {
    prompt: fields.prompt ?? fields.caption,
    images: isPair ? [fields.image_0, fields.image_1] : fields.images,
    labels: isPair ? pairLabels : fields.labels,
    ranking: fields.ranking,
    bestFirst: !isPair && fields.has_label !== false,
    examples: fields.num_example_per_prompt,
    labelled: fields.has_label,
    different: fields.are_different,
    split: fields.split,
    kind: fields.kind,
  };
}

/** Text of a CSV cell as what its column means; an empty cell is nothing. */
function cellValue(name: string, text: string): unknown {
  if (["prompt", "caption"].includes(name)) return text;
  if (text === "") return undefined;
  switch (name) {
    case "images":
      return text.split(LIST_MARK);
    case "labels":
    case "ranking":
      return text.split(LIST_MARK).map(Number);
    case "label_0":
    case "label_1":
    case "num_example_per_prompt":
      return Number(text);
    case "has_label":
    case "are_different":
      return !/^(false|0|no)$/i.test(text.trim());
    default:
      return text;
  }
}
