// Which mutators a file's format asks for.
import { extname } from "node:path";
import { mutateBytes } from "./byte-mutators.js";
import type { Draws } from "./draws.js";
import { mutateJson } from "./json-mutators.js";
import { mutateJsonLines, mutateText } from "./text-mutators.js";

/** A file's contents, changed as its ending asks for. words: of its format. */
export function mutateFile(path: string, bytes: Uint8Array, draws: Draws, words: readonly string[]): Buffer {
  const text = (): string => Buffer.from(bytes).toString("utf8");
  switch (extname(path)) {
    case ".json":
      return draws.chance(0.2)
        ? mutateText(text(), draws, words)
        : Buffer.from(mutateJson(JSON.parse(text()), draws, words));
    case ".jsonl":
      return mutateJsonLines(text(), draws, words);
    case ".csv":
    case ".tsv":
    case ".txt":
    case ".caption":
    case ".ts":
    case ".js":
      return mutateText(text(), draws, words);
    case ".safetensors":
      return mutateSafetensors(bytes, draws, words);
    default:
      return mutateBytes(bytes, draws, words);
  }
}

/** Half of the time the header's values, so that the reader goes past its first look. Format: u64 length, JSON, data. */
function mutateSafetensors(bytes: Uint8Array, draws: Draws, words: readonly string[]): Buffer {
  if (draws.chance(0.5)) return mutateBytes(bytes, draws, words);
  const whole = Buffer.from(bytes);
  const end = 8 + Number(whole.readBigUInt64LE(0));
  const header = Buffer.from(mutateJson(JSON.parse(whole.toString("utf8", 8, end)), draws, words));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, whole.subarray(end)]);
}
