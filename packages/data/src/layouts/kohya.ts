// A folder of images in twos: `name_w.png` won, `name_l.png` lost; or the two under one name in folders `w` and `l`.
import { readdirSync } from "node:fs";
import { extname, join, relative, sep } from "node:path";
import { readText } from "@spo/torch/text-files";
import { FaultList } from "../fault-list.js";
import { isOutside } from "../image-bytes.js";
import type { PairSource } from "../preference.js";
import { splitOfPath } from "../splits.js";
import { PREFERRED } from "./columns.js";
import { type ListedPair, listedSource } from "./listed.js";

/** Endings of images, in any case. */
const IMAGE = /\.(png|jpe?g|webp)$/i;
/** Endings of captions, in any case. sd-scripts writes the first by default. */
const CAPTION = /\.(caption|txt)$/i;

const SIDES = new Map<string, "w" | "l">(
  PREFERRED.flatMap(([better, worse]): [string, "w" | "l"][] => [
    [better, "w"],
    [worse, "l"],
  ]),
);

/** Which side a path is of, and what it shares with the other side: `1_x/w/a.png` and `1_x/l/a.png`, `a_w.png` and `a_l.png`. */
export function sideOfPath(path: string): { side: "w" | "l"; key: string } | undefined {
  const parts = path.split("/");
  const name = (parts.pop() ?? "").replace(/\.[^.]*$/, "");
  const named = /^(.*)[_-]([a-z]+)$/i.exec(name);
  const byName = named && SIDES.get((named[2] as string).toLowerCase());
  if (byName) return { side: byName, key: [...parts, named[1]].join("/") };
  for (let at = parts.length - 1; at >= 0; at--) {
    const side = SIDES.get((parts[at] as string).toLowerCase());
    if (side) return { side, key: [...parts.slice(0, at), "*", ...parts.slice(at + 1), name].join("/") };
  }
  return undefined;
}

/** Whether a list of a folder's files has images of this layout. */
export const isKohya = (names: readonly string[]): boolean =>
  names.some((name) => IMAGE.test(name) && sideOfPath(name.replaceAll(sep, "/")) !== undefined);

/**
 * The prompt is in a `.caption` or `.txt` file of the name of either image, or of the name that the two share.
 *
 * Throws a UserError (`DATA`) that lists images without their other half, and pairs with two different prompts.
 */
export function openKohya(
  folders: readonly string[],
  { allowOutside = false }: { allowOutside?: boolean } = {},
): PairSource {
  const faults = new FaultList();
  const listed = folders.flatMap((folder) => pairsOfFolder(folder, allowOutside, faults));
  faults.throwIfAny(
    folders.join(", "),
    faults.has("outside")
      ? "With --allow-outside links may lead anywhere; do so only for folders that you trust."
      : undefined,
  );
  return listedSource("kohya", listed);
}

interface Half {
  image?: string;
  captions: string[];
}

function pairsOfFolder(folder: string, allowOutside: boolean, faults: FaultList): ListedPair[] {
  const halves = new Map<string, { w: Half; l: Half; where: string; shared: string[] }>();
  const shared = new Map<string, string[]>();
  const root = allowOutside ? undefined : folder;
  const of = (key: string, where: string) => {
    const known = halves.get(key) ?? { w: { captions: [] }, l: { captions: [] }, where, shared: [] };
    halves.set(key, known);
    return known;
  };
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isDirectory()) continue;
    const path = join(entry.parentPath, entry.name);
    const name = relative(folder, path).replaceAll(sep, "/");
    if (!IMAGE.test(name) && !CAPTION.test(name)) continue;
    const found = sideOfPath(name);
    const stem = name.slice(0, -extname(name).length);
    if (CAPTION.test(name)) {
      if (found) of(found.key, stem)[found.side].captions.push(path);
      else shared.set(stem, [...(shared.get(stem) ?? []), path]);
      continue;
    }
    if (!found) continue;
    const half = of(found.key, stem)[found.side];
    if (half.image !== undefined)
      faults.add(`${folder}, ${name}`, `there are two images of that name on one side: ${entry.name} too`);
    half.image = path;
  }
  return [...halves]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([key, { w, l }]): ListedPair[] => {
      if (w.image === undefined && l.image === undefined) return []; // text alone
      const where = `${folder}, ${key}`;
      if (w.image === undefined || l.image === undefined) {
        faults.add(
          where,
          `there is no ${w.image === undefined ? "better" : "worse"} image (_w and _l, or folders w and l)`,
        );
        return [];
      }
      const captions = [...w.captions, ...l.captions, ...(shared.get(key.replace("*/", "")) ?? [])];
      for (const path of [w.image, l.image, ...captions]) {
        if (root === undefined || !isOutside(path, root)) continue;
        faults.add(where, `${relative(folder, path)} is a link that leads out of the folder`, "outside");
        return [];
      }
      const prompts = new Set(captions.map(captionOf));
      if (prompts.size > 1) faults.add(where, "its caption files differ");
      const pair = {
        prompt: [...prompts][0] ?? "",
        image0: { path: w.image, root },
        image1: { path: l.image, root },
        label0: 1,
        label1: 0,
        labelled: true,
        different: true,
        split: splitOfPath(join(folder, key.replace("*/", ""))),
      };
      return [{ pair, where }];
    });
}

/** A caption file's text without its line end. */
const captionOf = (path: string): string => readText(path).replace(/\r?\n$/, "");
