import { existsSync, readdirSync, statSync } from "node:fs";
import { dirname, extname, join, resolve } from "node:path";
import { UserError } from "@spo/torch/files";
import type { Layout, PairSource } from "../preference.js";
import { isKohya, openKohya } from "./kohya.js";
import { isAboutData, type ListFile, openListing } from "./listing.js";
import { openParquetPairs, type ParquetPairsOptions } from "./parquet.js";
import type { TableOptions } from "./table-source.js";

/** How a set of pairs is opened. */
export interface OpenOptions extends ParquetPairsOptions, TableOptions {
  /** Default: seen from the files' names. */
  layout?: Layout;
  /** Images may lie outside of the folder that was given, or of the list's: by `..`, absolute paths and links. Default false. */
  allowOutside?: boolean;
}

const ENDINGS: Readonly<Record<string, Layout>> = {
  ".parquet": "parquet",
  ".jsonl": "jsonl",
  ".ndjson": "jsonl",
  ".csv": "csv",
  ".tsv": "csv",
  ".json": "hpd",
};

/**
 * Preference pairs from files and folders, all of one layout. A folder stands for the files in it and in the folders below it.
 *
 * Throws UserErrors (`DATA`) for what is absent, damaged, of no known layout or of several, without a pair, or with images outside.
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
  const files = found.map(
    ({ path, root }): ListFile => ({ path, root: options.allowOutside ? undefined : root }),
  );
  const source = await openLayout(layout, files, options);
  if (source.blocks.some(({ rows }) => rows > 0)) return source;
  await source.close();
  throw new UserError(`${given.join(", ")}: there is no pair in it.`, { code: "DATA" });
}

async function openLayout(
  layout: Layout,
  files: readonly ListFile[],
  options: OpenOptions,
): Promise<PairSource> {
  switch (layout) {
    case "parquet":
      return openParquetPairs(files, options);
    case "jsonl":
    case "csv":
    case "hpd":
      return openListing(layout, files, options);
    case "kohya":
      return openKohya(
        files.map(({ path }) => path),
        options,
      );
  }
}

function filesOf(path: string, wanted: Layout | undefined): { layout: Layout; path: string; root: string }[] {
  if (!existsSync(path)) throw new UserError(`${path} does not exist.`, { code: "DATA" });
  const found = statSync(path);
  if (!found.isDirectory()) {
    const layout = ENDINGS[extname(path).toLowerCase()];
    if (!found.isFile() || !layout || (wanted && wanted !== layout))
      throw new UserError(`${path} is no ${wanted ?? "parquet, JSON, JSONL or CSV"} file.`, { code: "DATA" });
    return [{ layout, path: resolve(path), root: dirname(resolve(path)) }];
  }
  const names = readdirSync(path, { recursive: true, encoding: "utf8" })
    .filter((name) => !isAboutData(name))
    .sort();
  for (const layout of new Set(Object.values(ENDINGS))) {
    if (wanted && wanted !== layout) continue;
    const files = names.filter((name) => ENDINGS[extname(name).toLowerCase()] === layout);
    if (files.length > 0)
      return files.map((name) => ({ layout, path: resolve(join(path, name)), root: resolve(path) }));
  }
  if ((!wanted || wanted === "kohya") && isKohya(names))
    return [{ layout: "kohya", path: resolve(path), root: resolve(path) }];
  throw new UserError(`${path} holds no preference pairs${wanted ? ` in the layout ${wanted}` : ""}.`, {
    code: "DATA",
    hint: "Looked for parquet, JSONL, CSV and JSON files, for images named _w and _l, and for images in folders w and l.",
  });
}
