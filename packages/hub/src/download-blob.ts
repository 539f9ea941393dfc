// Downloads one file's contents into the cache. What arrived before a cut is kept, the rest is fetched by range, and the whole is checked
// by its hash.
import { createHash, type Hash } from "node:crypto";
import {
  closeSync,
  createReadStream,
  fsyncSync,
  openSync,
  readdirSync,
  rmSync,
  statfsSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { downloadFile } from "@huggingface/hub";
import { asUserError, makeFolder, renameDurably, UserError } from "@spo/torch/files";
import { sizeOf } from "./cache.js";
import { reasonOf } from "./faults.js";
import { HubRefusal, type OnRetry, type Patience, pause } from "./hub-fetch.js";

/** A file of a commit, as the hub's listing has it. */
export interface RemoteFile {
  path: string;
  /** Bytes. */
  size: number;
  /** SHA-256 of a large file, git blob id (SHA-1) of a small one. Also its name in the cache. */
  id: string;
  kind: "sha256" | "git";
}

export interface BlobSource {
  endpoint: string;
  repo: string;
  commit: string;
  fetch: typeof fetch;
  patience: Patience;
  signal?: AbortSignal;
  onRetry?: OnRetry;
  /** Bytes of this file that are there. */
  onBytes?: (done: number) => void;
}

/**
 * Puts a file's contents at `<blobs>/<id>`. The caller holds the lock of this blob.
 *
 * A part that an earlier call or process left is taken up. Throws a UserError: `RESOURCE` when the disk is or would be full, `DATA` when
 * the contents come wrong twice, `ENVIRONMENT` when the network gives up.
 */
export async function downloadBlob(blobs: string, file: RemoteFile, source: BlobSource): Promise<void> {
  makeFolder(blobs);
  for (let again = false; ; again = true) {
    const part = claimPart(blobs, file);
    checkSpace(blobs, file, sizeOf(part) ?? 0);
    let found: string;
    try {
      found = await fill(part, file, source);
    } finally {
      // Without the process's name: the next one may take it up.
      if (sizeOf(part) !== undefined) renameDurably(part, restOf(blobs, file));
    }
    const rest = restOf(blobs, file);
    if (found === file.id) {
      renameDurably(rest, join(blobs, file.id));
      return;
    }
    rmSync(rest, { force: true });
    if (again) {
      throw new UserError(
        `${file.path} of ${source.repo} arrived damaged, twice: its ${file.kind === "sha256" ? "SHA-256" : "git id"} is ${found}, not ${file.id}.`,
        {
          code: "DATA",
          hint: "Something between here and the hub changes it, a proxy perhaps. Nothing of it was kept.",
        },
      );
    }
    source.onRetry?.(`${file.path} arrived damaged`, 0);
  }
}

const restOf = (blobs: string, { id }: RemoteFile): string => join(blobs, `${id}.part`);

/**
 * Takes over what earlier tries left, under a name of this process alone: if two processes believe that they hold the lock, neither writes
 * into the other's file. A part under the name of a killed process is as good.
 */
function claimPart(blobs: string, { id }: RemoteFile): string {
  const mine = join(blobs, `${id}.${process.pid}.part`);
  const left = readdirSync(blobs)
    .filter((name) => name.startsWith(`${id}.`) && name.endsWith(".part"))
    .map((name) => join(blobs, name))
    .sort((a, b) => (sizeOf(b) ?? 0) - (sizeOf(a) ?? 0));
  const [best, ...others] = left;
  for (const path of others) rmSync(path, { force: true });
  if (best && best !== mine) renameDurably(best, mine);
  return mine;
}

function checkSpace(folder: string, { path, size }: RemoteFile, there: number): void {
  const { bavail, bsize } = statfsSync(folder);
  const [free, wanted] = [bavail * bsize, size - there];
  if (wanted <= free) return;
  throw new UserError(
    `The disk is too full for ${path}: it needs ${gigabytes(wanted)} more, ${gigabytes(free)} are free at ${folder}.`,
    { code: "RESOURCE", hint: "Free some space, or set HF_HOME to a folder on a larger disk." },
  );
}

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toPrecision(3)} GB`;

/** Appends to `part` until it has the file's size. Gives the id of its contents. */
async function fill(part: string, file: RemoteFile, source: BlobSource): Promise<string> {
  const hash = hashFor(file);
  let done = Math.min(sizeOf(part) ?? 0, file.size);
  if ((sizeOf(part) ?? 0) > file.size) {
    rmSync(part);
    done = 0;
  }
  if (done > 0) for await (const chunk of createReadStream(part)) hash.update(chunk as Buffer);
  source.onBytes?.(done);

  const descriptor = openPart(part);
  try {
    let tries = 0;
    while (done < file.size) {
      const before = done;
      try {
        for await (const chunk of bytesFrom(done, file, source)) {
          source.signal?.throwIfAborted();
          if (done + chunk.length > file.size) throw new Error(`more than its ${file.size} bytes came`);
          writeAll(descriptor, chunk, part);
          hash.update(chunk);
          done += chunk.length;
          source.onBytes?.(done);
        }
        if (done < file.size) throw new Error(`the connection ended after ${done} of ${file.size} bytes`);
      } catch (error) {
        source.signal?.throwIfAborted();
        if (error instanceof UserError || error instanceof HubRefusal) throw error;
        tries = done > before ? 0 : tries + 1;
        if (tries > source.patience.retries) {
          throw new UserError(`${file.path} of ${source.repo} does not arrive: ${reasonOf(error)}.`, {
            code: "ENVIRONMENT",
            hint: "Run the same command again; what has arrived is kept and only the rest is fetched.",
            cause: error,
          });
        }
        await pause(tries, { ...source, reason: reasonOf(error) });
      }
    }
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  return hash.digest("hex");
}

/** A file's bytes from `from` on, in one answer of the hub. */
async function* bytesFrom(from: number, file: RemoteFile, source: BlobSource): AsyncGenerator<Uint8Array> {
  const { repo, commit, endpoint } = source;
  // The library tells its stream's reader only the words of a fault, so the fault itself is kept here.
  let fault: unknown;
  let skip = 0;
  const watched: typeof fetch = async (url, init) => {
    try {
      const response = await source.fetch(url, init);
      // A hub may answer a range with the whole file.
      if (from > 0 && response.status === 200) skip = from;
      const start = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1];
      if (start !== undefined && Number(start) !== from)
        throw new Error("the hub sent another range than asked");
      return response;
    } catch (error) {
      fault = error;
      throw error;
    }
  };
  const path = file.path.split("/").map(encodeURIComponent).join("/");
  const whole = await downloadFile({
    repo,
    path: file.path,
    revision: commit,
    hubUrl: endpoint,
    fetch: watched,
    xet: false, // its chunks cannot be taken up where they were cut, nor checked by the ids of the listing
    downloadInfo: { size: file.size, etag: file.id, url: `${endpoint}/${repo}/resolve/${commit}/${path}` },
  });
  if (!whole) throw new Error("the hub sent nothing");
  const reader = (from > 0 ? whole.slice(from) : whole).stream().getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      if (skip >= value.length) skip -= value.length;
      else {
        yield skip > 0 ? value.subarray(skip) : value;
        skip = 0;
      }
    }
  } catch (error) {
    throw fault ?? error;
  } finally {
    await reader.cancel().catch(() => {}); // it may have failed already, which is known then
  }
}

function hashFor({ kind, size }: RemoteFile): Hash {
  if (kind === "sha256") return createHash("sha256");
  return createHash("sha1").update(`blob ${size}\0`);
}

function openPart(path: string): number {
  try {
    return openSync(path, "a");
  } catch (error) {
    throw asUserError(error, path);
  }
}

function writeAll(file: number, data: Uint8Array, path: string): void {
  try {
    for (let at = 0; at < data.length; ) at += writeSync(file, data, at);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOSPC" && code !== "EDQUOT") throw asUserError(error, path);
    throw new UserError(`The disk is full: ${path} was not written to its end.`, {
      code: "RESOURCE",
      hint: "Free some space, or set HF_HOME to a folder on a larger disk; what has arrived is kept.",
      cause: error,
    });
  }
}
