import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { UserError } from "@spo/torch/files";
import type { EncodedImage } from "./preference.js";

/** The encoded bytes of an image. Throws a UserError (`DATA`) when its file cannot be read. */
export async function bytesOfImage(image: EncodedImage): Promise<Uint8Array> {
  if (image instanceof Uint8Array) return image;
  try {
    return await readFile(image.path);
  } catch (error) {
    throw new UserError(`${image.path} cannot be read: ${(error as Error).message}`, {
      code: "DATA",
      cause: error,
    });
  }
}

/** SHA-256, hexadecimal: what an image is known by wherever it is copied to. */
export const hashOfImage = async (image: EncodedImage): Promise<string> =>
  createHash("sha256")
    .update(await bytesOfImage(image))
    .digest("hex");

/** The ending that a file with these bytes has: `.jpg`, `.png`, `.webp`; undefined for anything else. */
export function endingOf(bytes: Uint8Array): string | undefined {
  const starts = (at: number, ...wanted: number[]): boolean =>
    wanted.every((byte, i) => bytes[at + i] === byte);
  if (starts(0, 0xff, 0xd8, 0xff)) return ".jpg";
  if (starts(0, 0x89, 0x50, 0x4e, 0x47)) return ".png";
  if (starts(0, 0x52, 0x49, 0x46, 0x46) && starts(8, 0x57, 0x45, 0x42, 0x50)) return ".webp";
  return undefined;
}
