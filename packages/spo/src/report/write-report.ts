import { join } from "node:path";
import { contactSheet } from "@spo/data";
import { type ImagePair, type ReportData, reportPage, verdict } from "@spo/records/report";
import { makeFolder, writeFileAtomic } from "@spo/torch/files";

/** Pairs on the sheets that stand beside the report. */
const SHEET = 48;

/** Paths of the files that `writeReport` wrote. */
export interface WrittenReport {
  html: string;
  /** `report.json`: the measures and where they are from. */
  json: string;
  /** The prompts that improved most and least; base, SPO, and both alternating row by row; candidates. None of what there is none of. */
  images: string[];
}

/** Writes `report.html`, `report.json` and sheets of the images as PNG into a folder. */
export async function writeReport(folder: string, data: ReportData): Promise<WrittenReport> {
  makeFolder(folder);
  const at = (name: string): string => join(folder, name);
  const images: string[] = [];
  const sheet = async (name: string, pngs: readonly Uint8Array[], columns: number): Promise<void> => {
    writeFileAtomic(at(name), await contactSheet(pngs, { columns }));
    images.push(at(name));
  };
  for (const [name, ends] of Object.entries({
    "most-improved.png": data.extremes?.most ?? [],
    "least-improved.png": data.extremes?.least ?? [],
  })) {
    if (ends.length === 0) continue;
    writeFileAtomic(at(name), await labelledRows(ends));
    images.push(at(name));
  }
  const pairs = data.pairs.slice(0, SHEET);
  if (pairs.length > 0) {
    const columns = Math.min(8, pairs.length);
    await sheet(
      "base.png",
      pairs.map(({ base }) => base),
      columns,
    );
    await sheet(
      "spo.png",
      pairs.map(({ spo }) => spo),
      columns,
    );
    const rows = Array.from({ length: Math.floor(pairs.length / columns) }, (_, row) =>
      pairs.slice(row * columns, (row + 1) * columns),
    );
    await sheet(
      "base-above-spo.png",
      rows.flatMap((row) => [...row.map(({ base }) => base), ...row.map(({ spo }) => spo)]),
      columns,
    );
  }
  for (const [i, { rows }] of data.strips.entries()) {
    const columns = rows[0]?.images.length ?? 0;
    if (columns > 0)
      await sheet(
        `candidates-${i + 1}.png`,
        rows.flatMap((row) => row.images),
        columns,
      );
  }
  const { title, summary, measures, pairCount, controlNote, work, settings, provenance, notes } = data;
  const judged = measures.map((measure) => ({ ...measure, verdict: verdict(measure) }));
  const facts = {
    title,
    summary,
    measures: judged,
    pairCount,
    controlNote,
    work,
    settings,
    provenance,
    notes,
  };
  writeFileAtomic(at("report.json"), `${JSON.stringify(facts, null, 2)}\n`);
  writeFileAtomic(at("report.html"), reportPage(data)); // last: where it exists, everything exists
  return { html: at("report.html"), json: at("report.json"), images };
}

/** A row of the base's images above one of SPO's, with the prompts as head of the columns. */
const labelledRows = (pairs: readonly ImagePair[]): Promise<Uint8Array> =>
  contactSheet([...pairs.map(({ base }) => base), ...pairs.map(({ spo }) => spo)], {
    columns: pairs.length,
    labels: { rows: ["base", "SPO"], columns: pairs.map(({ prompt }) => prompt) },
  });
