// Finds the file of a LoRA that a prompt calls for by name.
import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, extname, join, relative } from "node:path";
import { UserError } from "@spo/torch/files";

const EXTENSIONS = new Set([".safetensors", ".ckpt", ".pt", ".bin"]);

/** Files that are named where none fits. */
const SHOWN = 10;

/**
 * The file `name.safetensors` (or .ckpt, .pt, .bin) in one of the folders or below, the first folder first; a name may also be a path in
 * it, `people/anna`. Letters of any case are the same where no file has them as they are.
 *
 * Throws a UserError (`DATA`) that says where it looked and what is there, or that several files have the name.
 */
export function findLora(name: string, folders: readonly string[]): string {
  if (folders.length === 0)
    throw new UserError(
      `The prompt calls for the LoRA ${JSON.stringify(name)}, and no folder of LoRAs is given.`,
      {
        code: "USAGE",
        hint: "Give the folder by --lora-dir, or read the prompt as words: --prompt-syntax plain.",
      },
    );
  const found = folders.flatMap((folder) => lorasIn(folder));
  for (const same of [(text: string) => text, (text: string) => text.toLowerCase()]) {
    const fits = found.filter((file) => [file.name, file.path].some((each) => same(each) === same(name)));
    const [first] = fits;
    if (!first) continue;
    const rivals = fits.filter(({ folder }) => folder === first.folder);
    if (rivals.length === 1) return first.file;
    throw new UserError(
      `The LoRA ${JSON.stringify(name)} is ${rivals.length} files: ${rivals.map(({ file }) => file).join(", ")}.`,
      { code: "DATA", hint: "Write its path in the folder: <lora:folder/name:0.8>." },
    );
  }
  const there = found.slice(0, SHOWN).map(({ path }) => path);
  const rest = found.length > SHOWN ? `, and ${found.length - SHOWN} more` : "";
  throw new UserError(
    `The prompt calls for the LoRA ${JSON.stringify(name)}: there is no ${name}.safetensors in ${folders.join(", ")}.`,
    {
      code: "DATA",
      hint:
        found.length > 0
          ? `There are: ${there.join(", ")}${rest}.`
          : "There is no LoRA. Give its folder by --lora-dir.",
    },
  );
}

interface Found {
  folder: string;
  /** Path of the file. */
  file: string;
  /** Its name without extension, and its path in the folder without extension. */
  name: string;
  path: string;
}

function lorasIn(folder: string): Found[] {
  if (!existsSync(folder) || !statSync(folder).isDirectory())
    throw new UserError(`${folder} is no folder.`, { code: "DATA", hint: "Give the folder of your LoRAs." });
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory() && EXTENSIONS.has(extname(entry.name)))
    .map((entry) => {
      const file = join(entry.parentPath, entry.name);
      const bare = (path: string): string => path.slice(0, -extname(path).length).replaceAll("\\", "/");
      return { folder, file, name: bare(basename(file)), path: bare(relative(folder, file)) };
    })
    .sort((a, b) => (a.path < b.path ? -1 : 1));
}
