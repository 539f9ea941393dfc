// Which runs lie below a folder. A run is known by an ID that says nothing of paths, so that a request never names a file.
import { createHash } from "node:crypto";
import { type Dirent, existsSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { GRID } from "@spo/records/report";
import { NOTES } from "./run-notes.js";

/** The folder of a run, or of a preference set, below the folder that is shown. */
export interface FoundRun {
  /** Of its path below that folder: the same after a restart, so that links hold. */
  id: string;
  /** That path, with `/`; of the folder itself, when it is a run, its name. */
  name: string;
  folder: string;
  /** Whether people have noted something about it. */
  hasNotes?: boolean;
}

/** Folders in each other that are looked through. */
const DEEPEST = 5;
/** Folders that are read in one go; then others may compute. */
const AT_ONCE = 200;

/** Of a run's folder: the set that it asks people about. */
const QUESTIONS = "human";

/** Folders that a training writes into its own: no run lies in them. */
const OWN: ReadonlySet<string> = new Set([
  ...["checkpoints", "best", "samples", "strips", "model", "tensorboard"],
  QUESTIONS,
]);

/** What lies below a folder: runs, preference sets that people can judge, grids of pictures. */
export interface FoundFolders {
  runs: FoundRun[];
  sets: FoundRun[];
  /** Grids of pictures. */
  grids: FoundRun[];
}

/**
 * Runs, sets and grids below a folder, and the folder itself when it is one; links are not followed. Inside a run are those of a comparison,
 * and what it asks people; nothing is looked for inside a set or a grid.
 *
 * A folder counts as a run when it has an event log, as a set when it has a list of pairs, as a grid when it has a list of its pictures.
 */
export async function findRuns(root: string): Promise<FoundFolders> {
  const found: FoundFolders = { runs: [], sets: [], grids: [] };
  const open: { folder: string; names: string[] }[] = [{ folder: root, names: [] }];
  for (let read = 1; ; read++) {
    const at = open.pop();
    if (!at) return found;
    if (read % AT_ONCE === 0) await setImmediate();
    const entries = entriesOf(at.folder);
    const has = (file: string): boolean => entries.some((entry) => entry.name === file && entry.isFile());
    const isRun = has("events.jsonl");
    const isSet = has("pairs.jsonl");
    if (isRun || isSet || has(GRID)) {
      const path = at.names.join("/");
      const name = path || basename(root);
      const hasNotes = has(NOTES);
      (isRun ? found.runs : isSet ? found.sets : found.grids).push({
        id: idOf(path),
        name,
        folder: at.folder,
        hasNotes,
      });
      const asked = join(at.folder, QUESTIONS);
      if (isRun && entries.some((entry) => entry.name === QUESTIONS && entry.isDirectory()))
        if (existsSync(join(asked, "pairs.jsonl")))
          found.sets.push({ id: idOf(`${path}/${QUESTIONS}`), name: `${name}/${QUESTIONS}`, folder: asked });
      if (!isRun) continue;
    }
    if (at.names.length === DEEPEST) continue;
    for (const entry of entries)
      if (
        entry.isDirectory() &&
        !entry.name.startsWith(".") &&
        entry.name !== "node_modules" &&
        !(isRun && OWN.has(entry.name))
      )
        open.push({ folder: join(at.folder, entry.name), names: [...at.names, entry.name] });
  }
}

const idOf = (name: string): string => createHash("sha256").update(name).digest("base64url").slice(0, 16);

function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch {
    return []; // gone meanwhile, or not ours to read
  }
}
