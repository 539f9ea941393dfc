// The checkpoints of a run: which there are, and whether each is whole.
import { createHash } from "node:crypto";
import { closeSync, existsSync, openSync, readdirSync, readSync, rmSync } from "node:fs";
import { join, sep } from "node:path";
import { z } from "zod";
import type { LogMark } from "./event-log.js";
import { readOrdinary, readRecord } from "./read-record.js";
import { MANIFEST, manifestText, sealManifest } from "./write-checkpoint.js";

const Manifest = z.object({
  step: z.int().min(0),
  files: z.record(z.string(), z.string()),
  /** The run's log as it was when this was saved. */
  log: z.object({ bytes: z.int().min(0), sha256: z.string() }).optional(),
  /** Of the manifest's text without this; none in those of an earlier version. */
  sha256: z.string().optional(),
});
type Manifest = z.output<typeof Manifest>;

/** A checkpoint of a run, whole or not. */
export interface Checkpoint {
  step: number;
  /** Absolute. */
  folder: string;
  /** Why it cannot be used, if so. */
  fault?: string;
  /** The run's log as it was when this was saved; known of a checkpoint that was checked. */
  log?: LogMark;
}

/** Checkpoints of a folder, oldest first, unchecked. */
export function listCheckpoints(checkpoints: string): Checkpoint[] {
  if (!existsSync(checkpoints)) return [];
  return readdirSync(checkpoints)
    .filter((name) => /^step-\d+$/.test(name))
    .map((name) => ({ step: Number(name.slice(5)), folder: join(checkpoints, name) }))
    .sort((a, b) => a.step - b.step);
}

/** The checkpoint with its `fault`, if it has one: each file is read and compared with its hash. */
export function checkCheckpoint(checkpoint: Checkpoint): Checkpoint {
  try {
    const manifest = manifestOf(checkpoint);
    if (manifest.step !== checkpoint.step) throw new Error(`its manifest says step ${manifest.step}`);
    const present = filesOf(checkpoint.folder);
    for (const [file, hash] of Object.entries(manifest.files)) {
      if (!present.includes(file)) throw new Error(`${file} is missing`);
      if (sha256(join(checkpoint.folder, file)) !== hash) throw new Error(`${file} has changed`);
    }
    return { ...checkpoint, log: manifest.log };
  } catch (error) {
    return { ...checkpoint, fault: (error as Error).message };
  }
}

/** Throws where the manifest is not, byte for byte, what was written. */
function manifestOf({ folder }: Checkpoint): Manifest {
  const path = join(folder, MANIFEST);
  if (!existsSync(path)) throw new Error("it has no manifest");
  try {
    const { sha256: seal, ...manifest } = readRecord(path, Manifest);
    const written = seal === undefined ? manifest : sealManifest(manifest);
    if (readOrdinary(path).toString("utf8") === manifestText(written)) return manifest;
  } catch {
    // Whatever is wrong with it, it is not as it was written.
  }
  throw new Error("its manifest is damaged");
}

/** Removes all but the newest `kept` up to `step`. Later ones are damaged, or of a history that was done again from an earlier step. */
export function pruneCheckpoints(checkpoints: string, step: number, kept: number): void {
  const all = listCheckpoints(checkpoints);
  const keep = new Set(all.filter((checkpoint) => checkpoint.step <= step).slice(-kept));
  for (const checkpoint of all)
    if (!keep.has(checkpoint)) rmSync(checkpoint.folder, { recursive: true, force: true });
}

/** Files of a folder and the folders in it, as relative paths with `/`, without the manifest; in order of name. */
function filesOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) =>
      join(entry.parentPath, entry.name)
        .slice(folder.length + 1)
        .replaceAll(sep, "/"),
    )
    .filter((file) => file !== MANIFEST)
    .sort();
}

/** Read in pieces: a checkpoint may be larger than memory. */
function sha256(path: string): string {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(1 << 20);
  const file = openSync(path, "r");
  try {
    for (let read = readSync(file, buffer); read > 0; read = readSync(file, buffer))
      hash.update(buffer.subarray(0, read));
  } finally {
    closeSync(file);
  }
  return hash.digest("hex");
}
