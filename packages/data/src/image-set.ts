// Sets of finished images with their prompts.
import { existsSync, readdirSync, statSync } from "node:fs";
import { dirname, extname, join, resolve } from "node:path";
import { UserError } from "@spo/torch/files";
import { linesOf, parseBoundedJson, readText } from "@spo/torch/text-files";
import { FaultList } from "./fault-list.js";
import { bytesOfImage, isOutside } from "./image-bytes.js";
import { readPngText } from "./png-text.js";

/** An image and what it should show. */
export interface ImageOfSet {
  path: string;
  prompt: string;
  /** Where it is known: the seed that it was made from, and its number among that seed's. */
  seed?: number;
  image?: number;
}

/** Lists that a folder may have of its images. `metadata.jsonl` is what Hugging Face's image folders call it. */
const LISTS = ["images.jsonl", "metadata.jsonl"];
const ENDINGS = [".png", ".jpg", ".jpeg", ".webp"];

/**
 * Images with their prompts: a JSONL list (`{"file": …, "prompt": …}`, paths from where the list is), a folder with such a list, or a
 * folder whose images have their prompts in a text file of the same name or in their PNG text, as `spo sample` and A1111's web UI write it.
 *
 * In a folder without a list, sheets (`grid-…`) are left out, and the order is that of the names. Throws a UserError (`DATA`) that lists
 * every image without a prompt and every line that is wrong, and images outside of the list's folder, unless `allowOutside`.
 */
export function readImageSet(
  path: string,
  { allowOutside = false }: { allowOutside?: boolean } = {},
): ImageOfSet[] {
  if (!existsSync(path)) {
    throw new UserError(`${path} does not exist.`, {
      code: "DATA",
      hint: "Give a folder of images, or a JSONL list of them.",
    });
  }
  const list = statSync(path).isDirectory()
    ? LISTS.map((name) => join(path, name)).find((file) => existsSync(file))
    : path;
  const images = list ? fromList(list, allowOutside) : fromFolder(path);
  if (images.length === 0) throw new UserError(`${list ?? path}: there is no image.`, { code: "DATA" });
  return images;
}

function fromList(list: string, allowOutside: boolean): ImageOfSet[] {
  const faults = new FaultList();
  const images: ImageOfSet[] = [];
  for (const [i, line] of linesOf(readText(list)).entries()) {
    if (line.trim() === "") continue;
    const where = `line ${i + 1}`;
    let entry: unknown;
    try {
      entry = parseBoundedJson(line);
    } catch (error) {
      faults.add(where, `no JSON: ${(error as Error).message}`);
      continue;
    }
    const { file, prompt, seed, image } = entryOf(entry);
    if (file === undefined) faults.add(where, 'names no file; write {"file": …, "prompt": …}');
    else if (prompt === undefined) faults.add(where, `${file} has no prompt`);
    else {
      const path = resolve(dirname(list), file);
      if (!existsSync(path)) faults.add(where, `${file} does not exist`);
      else if (!allowOutside && isOutside(path, dirname(list)))
        faults.add(where, `${file} lies outside of ${dirname(resolve(list))}`, "outside");
      else images.push({ path, prompt, seed, image });
    }
  }
  faults.throwIfAny(
    list,
    faults.has("outside")
      ? "With --allow-outside images may lie anywhere; do so only for lists that you trust."
      : undefined,
  );
  return images;
}

/** Names that lists in use have for the same things. */
const FILE_KEYS = ["file", "file_name", "image_path", "path"];
const PROMPT_KEYS = ["prompt", "caption", "text"];

function entryOf(entry: unknown): { file?: string; prompt?: string; seed?: number; image?: number } {
  if (typeof entry !== "object" || entry === null) return {};
  const fields = entry as Record<string, unknown>;
  const text = (keys: readonly string[]): string | undefined => {
    const found = keys.map((key) => fields[key]).find((value) => typeof value === "string" && value !== "");
    return found as string | undefined;
  };
  const whole = (value: unknown): number | undefined =>
    Number.isSafeInteger(value) ? (value as number) : undefined;
  return {
    file: text(FILE_KEYS),
    prompt: text(PROMPT_KEYS),
    seed: whole(fields.seed),
    image: whole(fields.image),
  };
}

function fromFolder(folder: string): ImageOfSet[] {
  const faults = new FaultList();
  const names = readdirSync(folder)
    .filter((name) => ENDINGS.includes(extname(name).toLowerCase()) && !name.startsWith("grid-"))
    .sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const images = names.flatMap((name) => {
    const path = join(folder, name);
    const beside = `${path.slice(0, -extname(path).length)}.txt`;
    const found = existsSync(beside)
      ? { prompt: readText(beside).trim() }
      : ofPngText(bytesOfImage({ path }));
    if (found?.prompt) return [{ path, ...found }];
    faults.add(name, "has no prompt");
    return [];
  });
  faults.throwIfAny(
    folder,
    'Put a text file of the same name beside each image, or list them in images.jsonl as {"file": …, "prompt": …}, one a line.',
  );
  return images;
}

/** Prompt and seed as `spo sample` writes them, or the prompt as A1111's web UI does. */
function ofPngText(bytes: Uint8Array): { prompt: string; seed?: number } | undefined {
  const { spo, parameters } = readPngText(bytes);
  if (spo !== undefined) {
    try {
      const { prompt, seed } = entryOf(parseBoundedJson(spo));
      if (prompt !== undefined) return { prompt, seed };
    } catch {
      // Another program's entry of this name: the next kind may do.
    }
  }
  const prompt = parameters?.split(/\n(?:Negative prompt: |Steps: )/)[0]?.trim();
  return prompt ? { prompt } : undefined;
}
