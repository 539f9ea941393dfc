import { closeSync, openSync, readSync, statSync } from "node:fs";
import { UserError } from "../errors.js";
import { openSafetensors, type SafetensorsFile } from "./safetensors.js";
import { isTorchFile, openTorchFile, type TorchFile } from "./torch-load.js";

/** A mapped file of weights, whatever its form. */
export type WeightsFile = SafetensorsFile | TorchFile;

/** Prefixes that wrappers put before all names of a model: data-parallel training, and `torch.compile`. */
const WRAPPERS = ["module.", "_orig_mod."];

/**
 * Opens a file of weights. Its first bytes say whether it is safetensors or written by torch.save. A prefix that a wrapper put before every
 * name is left out. Throws a UserError (`DATA`).
 */
export function openWeights(path: string): WeightsFile {
  let file: WeightsFile = isTorchFile(firstBytes(path)) ? openTorchFile(path) : openSafetensors(path);
  for (let prefix = sharedWrapper(file); prefix !== undefined; prefix = sharedWrapper(file))
    file = file.withoutPrefix(prefix);
  return file;
}

function sharedWrapper(file: WeightsFile): string | undefined {
  const names = file.keys();
  return names.length === 0
    ? undefined
    : WRAPPERS.find((wrapper) => names.every((name) => name.startsWith(wrapper)));
}

function firstBytes(path: string): Uint8Array {
  const bytes = new Uint8Array(24);
  try {
    const found = statSync(path);
    if (!found.isFile() && !found.isDirectory())
      throw new UserError(`${path} is no ordinary file: it cannot be mapped into memory.`, { code: "DATA" });
    const file = openSync(path, "r");
    try {
      return bytes.subarray(0, readSync(file, bytes));
    } finally {
      closeSync(file);
    }
  } catch (error) {
    if (error instanceof UserError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    const why =
      code === "ENOENT"
        ? "does not exist"
        : code === "EISDIR"
          ? "is a folder, not a file"
          : `cannot be read: ${message}`;
    throw new UserError(`${path} ${why}.`, { code: "DATA", cause: error });
  }
}
