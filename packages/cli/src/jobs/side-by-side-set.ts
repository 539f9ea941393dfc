// Makes a set that people judge of folders of images.
import { basename, resolve } from "node:path";
import { readImageSet, sideBySide } from "@spo/data";
import type { CommonOptions } from "../options/common-options.js";
import { convertSource } from "./convert-set.js";

/** Of `spo data side-by-side`. */
export interface SideBySideOptions extends CommonOptions {
  output: string;
  skipBroken?: boolean;
}

/** Reads the images, writes the set, and says what was done. folders: NAME=FOLDER, or a folder, which has its own name. */
export async function sideBySideSet(folders: readonly string[], options: SideBySideOptions): Promise<void> {
  const sets = folders.map((word) => {
    const [, name, folder = word] = /^([^=/\\]+)=(.+)$/.exec(word) ?? [];
    return { model: name ?? basename(resolve(folder)), images: readImageSet(folder) };
  });
  await convertSource(sideBySide(sets), "jsonl", options);
}
