// Files of weights compared by names and bits.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openWeights, scope, type Tensor, type WeightsFile } from "@spo/torch";
import type { Cases } from "./verify-check.js";

/** Names, dtypes, shapes and bytes of two files. */
export function compareFiles(
  cases: Cases,
  name: string,
  actual: string,
  expected: string,
  ignored: readonly string[] = [],
): void {
  using left = openWeights(actual);
  using right = openWeights(expected);
  const wanted = right.keys().filter((key) => !ignored.includes(key));
  let wrong = left.keys().filter((key) => !wanted.includes(key)).length;
  for (const key of wanted) wrong += Number(!left.has(key) || !sameBits(left, right, key));
  cases.list.push({ case: `${name}, ${wanted.length} tensors equal`, maxError: wrong, tolerance: 0 });
}

function sameBits(left: WeightsFile, right: WeightsFile, key: string): boolean {
  return scope(() => sameTensor(left.get(key), right.get(key)));
}

/** Whether two tensors have the same type, shape and bits. */
export function sameTensor(a: Tensor, b: Tensor): boolean {
  if (a.dtype !== b.dtype || a.shape.join() !== b.shape.join()) return false;
  return Buffer.from(bytesOf(a)).equals(bytesOf(b));
}

/** The elements' bytes. float16 and bfloat16 become float32, which keeps each of them apart. */
function bytesOf(x: Tensor): Uint8Array {
  const { buffer, byteOffset, byteLength } = x.toTypedArray();
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** Calls `fn` with a folder that is removed behind it. */
export function inTemporaryFolder(fn: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), "spo-verify-"));
  try {
    fn(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
