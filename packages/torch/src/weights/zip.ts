// The table of contents of a zip container whose entries are stored, not compressed: what torch.save writes.
import type { MappedFile } from "./mapped-file.js";

export interface ZipEntry {
  /** First byte of the contents in the file. */
  offset: number;
  size: number;
}

const END = 0x06054b50;
const END_64_LOCATOR = 0x07064b50;
const END_64 = 0x06064b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
const MAX_DIRECTORY = 32 << 20;
/** Far above a checkpoint of 50,000 tensors, each of which is an entry. */
const MAX_ENTRIES = 100_000;

/**
 * Entries by name, from the central directory alone. Source: PKWARE's APPNOTE 6.3.10, sections 4.3 and 4.5.3.
 *
 * `bad` is called for what is damaged, compressed, encrypted, named twice, or outside the file.
 */
export function readZipDirectory(file: MappedFile, bad: (why: string) => never): Map<string, ZipEntry> {
  const { offset, size, count } = findDirectory(file, bad);
  if (size > MAX_DIRECTORY) bad(`its directory claims ${size} bytes`);
  if (count > MAX_ENTRIES) bad(`its directory claims ${count} entries`);
  if (offset + size > file.size) bad("its directory lies outside the file");
  const bytes = file.bytes(offset, size);
  const view = viewOf(bytes);
  const entries = new Map<string, ZipEntry>();
  const decoder = new TextDecoder();
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > size || view.getUint32(at, true) !== CENTRAL) bad("its directory is damaged");
    const flags = view.getUint16(at + 8, true);
    const method = view.getUint16(at + 10, true);
    const nameLength = view.getUint16(at + 28, true);
    const extraLength = view.getUint16(at + 30, true);
    const end = at + 46 + nameLength + extraLength + view.getUint16(at + 32, true);
    if (end > size) bad("its directory is damaged");
    const name = decoder.decode(bytes.subarray(at + 46, at + 46 + nameLength));
    if (method !== 0) bad(`${name} in it is compressed; torch.save stores it plain`);
    if (flags & 1) bad(`${name} in it is encrypted`);
    if (entries.has(name)) bad(`${name} is in it twice`);
    const wide = wideSizes(view, at, at + 46 + nameLength, extraLength, bad);
    entries.set(name, { offset: contentsOf(file, name, wide, bad), size: wide.size });
    at = end;
  }
  return entries;
}

function findDirectory(
  file: MappedFile,
  bad: (why: string) => never,
): { offset: number; size: number; count: number } {
  // The end record has 22 bytes and a comment of up to 65,535.
  const start = Math.max(0, file.size - 22 - 0xffff);
  const tail = viewOf(file.bytes(start, file.size - start));
  let at = tail.byteLength - 22;
  while (at >= 0 && tail.getUint32(at, true) !== END) at--;
  if (at < 0) return bad("it has no zip directory");
  const plain = {
    count: tail.getUint16(at + 10, true),
    size: tail.getUint32(at + 12, true),
    offset: tail.getUint32(at + 16, true),
  };
  if (at < 20 || tail.getUint32(at - 20, true) !== END_64_LOCATOR) return plain;
  const place = Number(tail.getBigUint64(at - 12, true));
  if (place + 56 > file.size) return bad("its directory lies outside the file");
  const end = viewOf(file.bytes(place, 56));
  if (end.getUint32(0, true) !== END_64) return bad("its directory is damaged");
  return {
    count: Number(end.getBigUint64(32, true)),
    size: Number(end.getBigUint64(40, true)),
    offset: Number(end.getBigUint64(48, true)),
  };
}

/** Size and header offset of an entry; 64-bit values stand in the extra field 1 where the plain ones are all ones. */
function wideSizes(
  view: DataView,
  entry: number,
  extra: number,
  extraLength: number,
  bad: (why: string) => never,
): { size: number; header: number } {
  const packed = view.getUint32(entry + 20, true);
  let size = view.getUint32(entry + 24, true);
  let header = view.getUint32(entry + 42, true);
  if (size !== 0xffffffff && header !== 0xffffffff && packed !== 0xffffffff) {
    if (packed !== size) bad("an entry's two sizes differ");
    return { size, header };
  }
  for (let at = extra; at + 4 <= extra + extraLength; at += 4 + view.getUint16(at + 2, true)) {
    if (view.getUint16(at, true) !== 1) continue;
    const last = at + 4 + view.getUint16(at + 2, true);
    let next = at + 4;
    const take = (): number => {
      if (next + 8 > last || last > extra + extraLength) bad("its directory is damaged");
      next += 8;
      return Number(view.getBigUint64(next - 8, true));
    };
    if (size === 0xffffffff) size = take();
    if (packed === 0xffffffff) take();
    if (header === 0xffffffff) header = take();
    return { size, header };
  }
  return bad("its directory is damaged");
}

/** First byte of the contents: behind the local header, whose lengths differ from the directory's. */
function contentsOf(
  file: MappedFile,
  name: string,
  { size, header }: { size: number; header: number },
  bad: (why: string) => never,
): number {
  if (header + 30 > file.size) bad(`${name} in it lies outside the file`);
  const local = viewOf(file.bytes(header, 30));
  if (local.getUint32(0, true) !== LOCAL) bad(`${name} in it is damaged`);
  const offset = header + 30 + local.getUint16(26, true) + local.getUint16(28, true);
  if (!(offset + size <= file.size)) bad(`${name} in it lies outside the file`);
  return offset;
}

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
