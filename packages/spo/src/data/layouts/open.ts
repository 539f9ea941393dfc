import { existsSync, readdirSync, statSync } from "node:fs";
import { extname, join, resolve } from "node:path";
import { UserError } from "@spo/torch/files";
import type { Layout, PairSource } from "../preference.js";
import { openHpd } from "./hpd.js";
import { openKohya } from "./kohya.js";
import { openListing } from "./listing.js";
import { openParquetPairs, type ParquetPairsOptions } from "./parquet.js";

/** How a set of pairs is opened. */
export interface OpenOptions extends ParquetPairsOptions {
  /** Default: seen from the files' names. */
  layout?: Layout;
}

const ENDINGS: Readonly<Record<string, Layout>> = {
  ".parquet": "parquet",
  ".jsonl": "jsonl",
  ".csv": "csv",
  ".json": "hpd",
};

/**
 * Preference pairs from files and folders, all of one layout. A folder stands for the files in it and in the folders below it.
 *
 * Throws UserErrors (`DATA`) for what is absent, damaged, of no known layout or of several.
 */
export async function openPairs(
  paths: string | readonly string[],
  options: OpenOptions = {},
): Promise<PairSource> {
  const given = typeof paths === "string" ? [paths] : paths;
  const found = given.flatMap((path) => filesOf(path, options.layout));
  const layouts = [...new Set(found.map(({ layout }) => layout))];
  const [layout] = layouts;
  if (layout === undefined) throw new UserError("No path of a preference set was given.", { code: "USAGE" });
  if (layouts.length > 1) {
    throw new UserError(`${given.join(", ")} mix layouts: ${layouts.join(", ")}.`, {
      code: "DATA",
      hint: "Give paths of one layout, or say which one with --layout.",
    });
  }
  const files = found.map(({ path }) => path);
  switch (layout) {
    case "parquet":
      return openParquetPairs(files, options);
    case "jsonl":
    case "csv":
      return openListing(layout, files);
    case "hpd":
      return openHpd(files);
    case "kohya":
      return openKohya(files);
  }
}

function filesOf(path: string, wanted: Layout | undefined): { layout: Layout; path: string }[] {
  if (!existsSync(path)) throw new UserError(`${path} does not exist.`, { code: "DATA" });
  if (statSync(path).isFile()) {
    const layout = ENDINGS[extname(path).toLowerCase()];
    if (!layout || (wanted && wanted !== layout))
      throw new UserError(`${path} is no ${wanted ?? "parquet, JSON, JSONL or CSV"} file.`, { code: "DATA" });
    return [{ layout, path: resolve(path) }];
  }
  const names = readdirSync(path, { recursive: true, encoding: "utf8" }).sort();
  for (const [ending, layout] of Object.entries(ENDINGS)) {
    if (wanted && wanted !== layout) continue;
    const files = names.filter((name) => name.toLowerCase().endsWith(ending));
    if (files.length > 0) return files.map((name) => ({ layout, path: resolve(join(path, name)) }));
  }
  if ((!wanted || wanted === "kohya") && names.some((name) => /_w\.(png|jpe?g|webp)$/i.test(name)))
    return [{ layout: "kohya", path: resolve(path) }];
  throw new UserError(`${path} holds no preference pairs${wanted ? ` in the layout ${wanted}` : ""}.`, {
    code: "DATA",
    hint: "Looked for parquet, JSONL, CSV and JSON files, and for images named _w and _l.",
  });
}
