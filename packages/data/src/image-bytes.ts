// All reading of image files: ordinary files of bounded size, within the folder that they must be in.
import { createHash } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readSync, realpathSync } from "node:fs";
import { isAbsolute, relative, sep } from "node:path";
import { UserError } from "@spo/torch/files";
import type { EncodedImage } from "./preference.js";

/** No image of a preference set has more bytes. */
const MOST_BYTES = 256 << 20;

/** Whether a path, with links followed, leads out of a folder. What is absent is not outside. */
export function isOutside(path: string, root: string): boolean {
  let real: string;
  try {
    real = realpathSync(path);
  } catch {
    return false; // told of when it is opened
  }
  const way = relative(realpathSync(root), real);
  return way === ".." || way.startsWith(`..${sep}`) || isAbsolute(way);
}

/**
 * The encoded bytes of an image.
 *
 * Throws a UserError (`DATA`) for a file that cannot be read, that is none (a folder, a device, a pipe), that has more than 256 MB, or
 * that a link leads to from inside its set's folder to outside.
 */
export function bytesOfImage(image: EncodedImage): Uint8Array {
  if (image instanceof Uint8Array) return image;
  const { path, root } = image;
  const fault = (why: string, cause?: unknown): UserError =>
    new UserError(`${path} cannot be read: ${why}`, { code: "DATA", cause });
  if (root !== undefined && isOutside(path, root))
    throw fault(`it lies outside of ${root}, which --allow-outside permits`);
  let file: number;
  try {
    file = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)); // not to wait for a pipe's other end
  } catch (error) {
    throw fault((error as Error).message, error);
  }
  try {
    const found = fstatSync(file);
    if (!found.isFile()) throw fault("it is no ordinary file");
    if (found.size > MOST_BYTES) throw fault(`it has more than ${MOST_BYTES >> 20} MB`);
    const bytes = new Uint8Array(found.size);
    for (let at = 0; at < bytes.length; ) {
      const read = readSync(file, bytes, at, bytes.length - at, at);
      if (read === 0) return bytes.subarray(0, at); // it became shorter
      at += read;
    }
    return bytes;
  } catch (error) {
    throw error instanceof UserError ? error : fault((error as Error).message, error);
  } finally {
    closeSync(file);
  }
}

/** SHA-256, hexadecimal: what an image is known by wherever it is copied to. */
export const hashOfImage = async (image: EncodedImage): Promise<string> =>
  createHash("sha256").update(bytesOfImage(image)).digest("hex");

/** The ending that a file with these bytes has: `.jpg`, `.png`, `.webp`; undefined for anything else. */
export function endingOf(bytes: Uint8Array): string | undefined {
  const starts = (at: number, ...wanted: number[]): boolean =>
    wanted.every((byte, i) => bytes[at + i] === byte);
  if (starts(0, 0xff, 0xd8, 0xff)) return ".jpg";
  if (starts(0, 0x89, 0x50, 0x4e, 0x47)) return ".png";
  if (starts(0, 0x52, 0x49, 0x46, 0x46) && starts(8, 0x57, 0x45, 0x42, 0x50)) return ".webp";
  return undefined;
}
