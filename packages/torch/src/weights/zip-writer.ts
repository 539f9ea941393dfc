import { crc32 } from "node:zlib";

/** Entries stored plain, contents on multiples of 64 bytes as torch.save has them. Source: PKWARE's APPNOTE 6.3.10, section 4.3. */
export function zipOf(entries: readonly [name: string, contents: Uint8Array][]): Uint8Array {
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let at = 0;
  const put = (bytes: Uint8Array): void => {
    parts.push(bytes);
    at += bytes.length;
  };
  for (const [name, contents] of entries) {
    const encoded = Buffer.from(name);
    const padding = (64 - ((at + 30 + encoded.length) % 64)) % 64;
    const checksum = crc32(contents);
    const header = Buffer.alloc(30);
    header.writeUInt32LE(0x04034b50, 0);
    header.writeUInt32LE(checksum, 14);
    header.writeUInt32LE(contents.length, 18);
    header.writeUInt32LE(contents.length, 22);
    header.writeUInt16LE(encoded.length, 26);
    header.writeUInt16LE(padding, 28);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    header.copy(central, 6, 4, 28); // from the version to the length of the name
    central.writeUInt32LE(at, 42);
    directory.push(central, encoded);
    for (const part of [header, encoded, new Uint8Array(padding), contents]) put(part);
  }
  const start = at;
  for (const part of directory) put(part);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(at - start, 12);
  end.writeUInt32LE(start, 16);
  put(end);
  return Buffer.concat(parts);
}
