import { basename, dirname } from "node:path";

const KNOWN = /^(train|training|test|validation|valid|val|dev|eval)(?=$|[-_.])/i;
const NAMES: Readonly<Record<string, string>> = {
  training: "train",
  valid: "validation",
  val: "validation",
  dev: "validation",
  eval: "test",
};

/** The split that a file's name or its folder's says: `train-00000-of-00645.parquet`, `test/metadata.jsonl`. Otherwise `train`. */
export function splitOfPath(path: string): string {
  for (const name of [basename(path), basename(dirname(path))]) {
    const found = KNOWN.exec(name)?.[1]?.toLowerCase();
    if (found) return NAMES[found] ?? found;
  }
  return "train";
}
