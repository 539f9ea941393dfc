// Checkpoints are whole or not there: a folder gets its name when all its files and their hashes are on the disk. Loaded by a thread, so
// without what reads them.
import { createHash } from "node:crypto";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import {
  AtomicFile,
  asUserError,
  makeFolder,
  renameDurably,
  requireSpace,
  writeFileAtomic,
} from "@spo/torch/files";
import type { LogMark } from "./event-log.js";

/** The file of a checkpoint that has the hashes of the others. */
export const MANIFEST = "manifest.json";

/** What the manifest says. */
export interface ManifestText {
  step: number;
  /** SHA-256 by name, hexadecimal. */
  files: Record<string, string>;
  log?: LogMark;
  /** Of the text without this. */
  sha256?: string;
}

/** What a file is to hold; the chunks are made as they are taken. */
export interface FileContents {
  bytes: number;
  chunks: Iterable<Uint8Array>;
}

/** The files of a checkpoint, by name. */
export type CheckpointFiles = Readonly<Record<string, FileContents>>;

/** Where a checkpoint is to be, and what its manifest says. */
export interface CheckpointPlace {
  /** The folder of all checkpoints. */
  checkpoints: string;
  step: number;
  /** The run's log as it is now. */
  log?: LogMark;
}

/** Writes a checkpoint whole, or not at all → its folder. Throws a UserError (`RESOURCE`) that names what could not be written. */
export function writeCheckpoint(place: CheckpointPlace, files: CheckpointFiles): string {
  fillCheckpoint(place, files);
  return placeCheckpoint(place);
}

/** The first half of `writeCheckpoint`: all is on the disk under a temporary name. */
export function fillCheckpoint({ checkpoints, step, log }: CheckpointPlace, files: CheckpointFiles): void {
  const folder = temporaryFor({ checkpoints, step });
  const bytes = Object.values(files).reduce((sum, file) => sum + file.bytes, 0);
  try {
    removeLeftovers(checkpoints);
    requireSpace(folder, bytes);
    makeFolder(folder);
    const hashes = Object.entries(files).map(([name, { chunks }]) => {
      const hash = createHash("sha256");
      using file = new AtomicFile(join(folder, name));
      for (const chunk of chunks) {
        file.write(chunk);
        hash.update(chunk);
      }
      file.place();
      return [name, hash.digest("hex")] as const;
    });
    const manifest = sealManifest({ step, files: Object.fromEntries(hashes), log });
    writeFileAtomic(join(folder, MANIFEST), manifestText(manifest));
  } catch (error) {
    removeQuietly(checkpoints);
    throw asUserError(error, folder);
  }
}

/** The second half: what `fillCheckpoint` wrote gets its name. */
export function placeCheckpoint({ checkpoints, step }: CheckpointPlace): string {
  const folder = join(checkpoints, checkpointName(step));
  try {
    // Only a damaged checkpoint, or the same one, can have this name.
    rmSync(folder, { recursive: true, force: true });
    renameDurably(temporaryFor({ checkpoints, step }), folder);
  } catch (error) {
    removeQuietly(checkpoints);
    throw asUserError(error, folder);
  }
  return folder;
}

const temporaryFor = ({ checkpoints, step }: CheckpointPlace): string =>
  join(checkpoints, `.${checkpointName(step)}.tmp`);

function removeQuietly(checkpoints: string): void {
  try {
    removeLeftovers(checkpoints);
  } catch {
    // The fault that led here says more.
  }
}

/** What a killed process left half written. */
function removeLeftovers(checkpoints: string): void {
  if (!existsSync(checkpoints)) return;
  for (const name of readdirSync(checkpoints)) {
    if (name.startsWith(".")) rmSync(join(checkpoints, name), { recursive: true, force: true });
  }
}

/** The name of a step's checkpoint. */
export const checkpointName = (step: number): string => `step-${String(step).padStart(8, "0")}`;

/** The bytes of a manifest, as text. */
export const manifestText = (manifest: ManifestText): string => `${JSON.stringify(manifest, null, 2)}\n`;

/** A manifest with its own hash. */
export const sealManifest = (manifest: ManifestText): ManifestText => ({
  ...manifest,
  sha256: createHash("sha256").update(manifestText(manifest)).digest("hex"),
});
