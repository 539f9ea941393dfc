import { closeSync, fstatSync, openSync, readSync } from "node:fs";

/** Bytes that are looked at. */
const MOST_BYTES = 256 * 1024;

/** The last whole lines of a file; none where it is not there. */
export function lastLines(path: string, most: number): string[] {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch {
    return [];
  }
  try {
    const { size } = fstatSync(file);
    const from = Math.max(0, size - MOST_BYTES);
    const bytes = Buffer.alloc(size - from);
    const text = bytes.toString("utf8", 0, readSync(file, bytes, 0, bytes.length, from));
    return text
      .split("\n")
      .slice(from > 0 ? 1 : 0, -1)
      .slice(-most);
  } finally {
    closeSync(file);
  }
}
