// What people note about a run: a file of its own in the run's folder, so that it goes along where the folder is copied.
import { join } from "node:path";
import { fileOfRun, writeFileAtomic } from "@spo/records";
import { z } from "zod";

/** Its name in a run's folder. */
export const NOTES = "notes.json";

const MOST_BYTES = 64 * 1024;

/** Tags, and a text. */
export const RunNotes = z.strictObject({
  tags: z.array(z.string().trim().min(1).max(50)).max(30),
  note: z.string().max(10_000),
});
export type RunNotes = z.output<typeof RunNotes>;

/** Nothing where there is no such file, or none that can be read. */
export function readNotes(folder: string): RunNotes {
  try {
    const bytes = fileOfRun(folder, NOTES, MOST_BYTES);
    if (bytes) return RunNotes.parse(JSON.parse(Buffer.from(bytes).toString("utf8")));
  } catch {
    // Of another version, or torn: a run is shown all the same.
  }
  return { tags: [], note: "" };
}

/** Throws a UserError (`RESOURCE`) where it cannot be written. */
export function writeNotes(folder: string, { tags, note }: RunNotes): RunNotes {
  const kept = { tags: [...new Set(tags)], note };
  writeFileAtomic(join(folder, NOTES), `${JSON.stringify(kept, null, 2)}\n`);
  return kept;
}
