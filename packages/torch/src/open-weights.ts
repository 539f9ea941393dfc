import { closeSync, openSync, readSync, statSync } from "node:fs";
import { UserError } from "./files.js";
import { openSafetensors, type SafetensorsFile } from "./safetensors.js";
import { isTorchFile, openTorchFile, type TorchFile } from "./torch-load.js";

/** A mapped file of weights, whatever its form. */
export type WeightsFile = SafetensorsFile | TorchFile;

/** Opens a file of weights. Its form is told from its first bytes: safetensors, or what torch.save writes. Throws a UserError (`DATA`). */
export function openWeights(path: string): WeightsFile {
  return isTorchFile(firstBytes(path)) ? openTorchFile(path) : openSafetensors(path);
}

function firstBytes(path: string): Uint8Array {
  const bytes = new Uint8Array(24);
  const found = statSync(path, { throwIfNoEntry: false });
  if (found && !found.isFile() && !found.isDirectory())
    throw new UserError(`${path} is no ordinary file: it cannot be mapped into memory.`, { code: "DATA" });
  try {
    const file = openSync(path, "r");
    try {
      return bytes.subarray(0, readSync(file, bytes));
    } finally {
      closeSync(file);
    }
  } catch (error) {
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
