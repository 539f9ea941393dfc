// Images that come in tar files, whole or cut into parts: unpacked without anything that an archive could do beside that.
import { closeSync, createReadStream, openSync, readSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { AtomicFile, asUserError, UserError } from "@spo/torch/files";
import { createTarDecoder, type ParsedTarEntry } from "modern-tar";

/** What is unpacked: images and lists. */
const WANTED = /\.(png|jpe?g|webp|json|jsonl|ndjson|csv|tsv|parquet|txt|caption)$/i;
/** Of a file in an archive. */
const MOST_BYTES = 4 * 2 ** 30;
/** Images do not shrink in an archive: one that grows so many times in unpacking wants to fill the disk. */
const MOST_GROWTH = 100;
const LEAST_BOUND = 64 << 20;

/** An archive by its parts, in their order. */
export interface Archive {
  name: string;
  parts: string[];
}

/** `images.tar.gz.00`, `images.tar.part1`, `images.tgz.aa`: the archive's own name and the part's. */
const PART = /^(.*\.(?:tar(?:\.gz)?|tgz))(?:[.-](?:part[-_.]?)?([0-9]+|[a-z]{1,3}))?$/i;

/**
 * The archives of which these files are the parts, each with its parts in order.
 *
 * Throws a UserError (`DATA`) for a file that is no tar by its name, and for a number that is missing between two parts.
 */
export function archivesOf(paths: readonly string[]): Archive[] {
  const found = new Map<string, { path: string; part: string }[]>();
  for (const path of paths) {
    const [, name, part = ""] = PART.exec(path) ?? [];
    if (name === undefined) {
      throw new UserError(`${path} is no tar file by its name.`, {
        code: "DATA",
        hint: "Names are as images.tar, images.tar.gz, images.tgz, images.tar.gz.00, images.tar.part1 or images.tar.part-aa.",
      });
    }
    found.set(name, [...(found.get(name) ?? []), { path, part }]);
  }
  return [...found].map(([name, parts]) => {
    parts.sort((a, b) => a.part.length - b.part.length || (a.part < b.part ? -1 : 1));
    for (const [i, { part }] of parts.entries()) {
      const before = parts[i - 1]?.part;
      if (before !== undefined && /^\d+$/.test(part) && Number(part) !== Number(before) + 1)
        throw new UserError(`${name}: between the parts ${before} and ${part} one is missing.`, {
          code: "DATA",
        });
    }
    const first = parts[0]?.part ?? "";
    if (/^\d+$/.test(first) && Number(first) > 1)
      throw new UserError(`${name}: the first part is ${first}, those before it are missing.`, {
        code: "DATA",
      });
    return { name, parts: parts.map(({ path }) => path) };
  });
}

/** What was unpacked, and what was left alone: other files, links and devices. */
export interface Unpacked {
  files: number;
  bytes: number;
  passedOver: number;
}

/**
 * Unpacks the images and lists of an archive into a folder, as they come: no links, no devices, nothing outside of the folder. A file that
 * is there already in its size is left as it is, so that what was stopped can be gone on with.
 *
 * Throws a UserError (`DATA`) for an archive that is damaged, ends too soon, names a file outside, or grows more than a hundred times.
 */
export async function unpackArchive(
  { name, parts }: Archive,
  folder: string,
  { onProgress, signal }: { onProgress?: (done: number, total: number) => void; signal?: AbortSignal } = {},
): Promise<Unpacked> {
  const total = parts.reduce((sum, path) => sum + sizeOf(path), 0);
  const bound = Math.max(LEAST_BOUND, MOST_GROWTH * total);
  const done: Unpacked = { files: 0, bytes: 0, passedOver: 0 };
  let read = 0;
  const counted = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      read += chunk.byteLength;
      if (read > bound)
        throw new UserError(`${name} unpacks to more than ${MOST_GROWTH} times its size.`, { code: "DATA" });
      controller.enqueue(chunk);
    },
  });
  let packed = 0;
  const source = bytesOf(parts, (count) => {
    packed += count;
    onProgress?.(packed, total);
  });
  try {
    const entries = toStream(isGzip(parts[0] as string) ? source.pipe(createGunzip()) : source)
      .pipeThrough(counted)
      .pipeThrough(createTarDecoder({ strict: true }));
    for await (const entry of entries as unknown as AsyncIterable<ParsedTarEntry>) {
      signal?.throwIfAborted();
      await take(entry, { name, folder, done });
    }
  } catch (error) {
    if (error instanceof UserError || signal?.aborted) throw error;
    const known = (error as NodeJS.ErrnoException).code;
    if (known !== undefined && /^E[A-Z]+$/.test(known)) throw asUserError(error, folder);
    throw new UserError(`${name} is no whole tar archive: ${(error as Error).message}.`, {
      code: "DATA",
      hint: "Get it again, all of its parts.",
      cause: error,
    });
  } finally {
    source.destroy();
  }
  return done;
}

async function take(
  { header, body }: ParsedTarEntry,
  { name, folder, done }: { name: string; folder: string; done: Unpacked },
): Promise<void> {
  const path = placeOf(header.name, folder, name);
  if (header.type !== "file" || !WANTED.test(header.name)) {
    if (header.type !== "directory") done.passedOver++;
    await body.cancel();
    return;
  }
  if (header.size > MOST_BYTES)
    throw new UserError(`${name}: ${JSON.stringify(header.name)} has more than ${MOST_BYTES / 2 ** 30} GB.`, {
      code: "DATA",
    });
  const there = statSync(path, { throwIfNoEntry: false });
  if (there?.isFile() && there.size === header.size) await body.cancel();
  else await write(body as unknown as AsyncIterable<Uint8Array>, path, header.size);
  done.files++;
  done.bytes += header.size;
}

/** A file of an archive in the folder. Throws a UserError (`DATA`) for a name that leads elsewhere. */
function placeOf(entry: string, folder: string, name: string): string {
  const parts = entry.split("/").filter((part) => part !== "" && part !== ".");
  if (/^([/\\]|[a-z]:)/i.test(entry) || parts.some((part) => part === ".." || /[\\\0]/.test(part))) {
    throw new UserError(`${name} names a file outside of its folder: ${JSON.stringify(entry)}.`, {
      code: "DATA",
      hint: "Such an archive is damaged or hostile: nothing more of it was unpacked.",
    });
  }
  return resolve(join(folder, ...parts));
}

async function write(body: AsyncIterable<Uint8Array>, path: string, size: number): Promise<void> {
  using file = new AtomicFile(path);
  let written = 0;
  for await (const chunk of body) {
    file.write(chunk);
    written += chunk.byteLength;
  }
  if (written !== size) throw new Error("it ends within a file");
  file.place();
}

function sizeOf(path: string): number {
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found) throw new UserError(`${path} does not exist.`, { code: "DATA" });
  if (!found.isFile()) throw new UserError(`${path} is no file.`, { code: "DATA" });
  return found.size;
}

function isGzip(path: string): boolean {
  const file = openSync(path, "r");
  try {
    const start = new Uint8Array(2);
    readSync(file, start, 0, 2, 0);
    return start[0] === 0x1f && start[1] === 0x8b;
  } finally {
    closeSync(file);
  }
}

/** The bytes of several files as of one. */
function bytesOf(paths: readonly string[], onRead: (bytes: number) => void): Readable {
  return Readable.from(
    (async function* () {
      for (const path of paths) {
        for await (const chunk of createReadStream(path)) {
          onRead((chunk as Buffer).byteLength);
          yield chunk;
        }
      }
    })(),
    { objectMode: false },
  );
}

const toStream = (source: Readable): ReadableStream<Uint8Array> =>
  Readable.toWeb(source) as unknown as ReadableStream<Uint8Array>;
