// A folder of images in twos: `name_w.png` won, `name_l.png` lost, and the prompt is in `name_w.txt`, `name_l.txt` or `name.txt`.
import { existsSync, readdirSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { readText } from "@spo/torch/text-files";
import { FaultList } from "../fault-list.js";
import type { PairSource } from "../preference.js";
import { splitOfPath } from "../splits.js";
import { type ListedPair, listedSource } from "./listed.js";

const SIDE_NAME = /^(.*)_([wl])\.(png|jpe?g|webp)$/i;

/** Throws a UserError (`DATA`) that lists images without their other half, and pairs with two different prompts. */
export function openKohya(folders: readonly string[]): PairSource {
  const faults = new FaultList();
  const listed = folders.flatMap((folder) => pairsOfFolder(folder, faults));
  faults.throwIfAny(folders.join(", "));
  return listedSource("kohya", listed);
}

function pairsOfFolder(folder: string, faults: FaultList): ListedPair[] {
  const halves = new Map<string, { w?: string; l?: string }>();
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const found = entry.isFile() ? SIDE_NAME.exec(entry.name) : undefined;
    if (!found) continue;
    const [, name = "", side = ""] = found;
    const stem = join(entry.parentPath, name);
    const half = halves.get(stem) ?? {};
    half[side.toLowerCase() as "w" | "l"] = join(entry.parentPath, entry.name);
    halves.set(stem, half);
  }
  return [...halves]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([stem, { w, l }]): ListedPair[] => {
      const where = relative(folder, stem).replaceAll(sep, "/");
      if (!w || !l) {
        faults.add(`${folder}, ${where}`, `there is no ${w ? "_l" : "_w"} image`);
        return [];
      }
      const prompts = new Set(
        ["_w.txt", "_l.txt", ".txt"]
          .map((end) => stem + end)
          .filter((path) => existsSync(path))
          .map(captionOf),
      );
      if (prompts.size > 1) faults.add(`${folder}, ${where}`, "its caption files differ");
      const pair = {
        prompt: [...prompts][0] ?? "",
        image0: { path: w },
        image1: { path: l },
        label0: 1,
        label1: 0,
        labelled: true,
        different: true,
        split: splitOfPath(w),
      };
      return [{ pair, where: `${folder}, ${where}` }];
    });
}

/** A caption file's text without its line end. */
const captionOf = (path: string): string => readText(path).replace(/\r?\n$/, "");
