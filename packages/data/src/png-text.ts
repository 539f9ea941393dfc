// Text in PNG files, where other tools look for the settings of an image.
import { crc32 } from "node:zlib";

/** Bytes of signature and IHDR, which comes first. */
const HEAD = 8 + 25;

/** The PNG with text entries behind its header: `tEXt` where Latin-1 holds it, else `iTXt` in UTF-8. Source: PNG 1.2, 4.2.3. */
export function withPngText(png: Uint8Array, entries: Readonly<Record<string, string>>): Uint8Array {
  const chunks = Object.entries(entries).map(([key, text]) => textChunk(key, text));
  return Buffer.concat([png.subarray(0, HEAD), ...chunks, png.subarray(HEAD)]);
}

/** The text entries of a PNG; none of what is no PNG. */
export function readPngText(png: Uint8Array): Record<string, string> {
  const bytes = Buffer.from(png.buffer, png.byteOffset, png.byteLength);
  if (bytes.toString("latin1", 0, 4) !== "\x89PNG") return {};
  const entries: Record<string, string> = {};
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = bytes.readUInt32BE(at);
    const type = bytes.toString("latin1", at + 4, at + 8);
    const data = bytes.subarray(at + 8, at + 8 + length);
    const end = data.indexOf(0);
    if (type === "tEXt") entries[data.toString("latin1", 0, end)] = data.toString("latin1", end + 1);
    if (type === "iTXt") entries[data.toString("latin1", 0, end)] = data.toString("utf8", end + 5);
    at += 12 + length;
  }
  return entries;
}

function textChunk(key: string, text: string): Buffer {
  const fits = [...text].every((letter) => (letter.codePointAt(0) as number) < 256);
  return fits
    ? chunk("tEXt", Buffer.from(`${key}\0${text}`, "latin1"))
    : // not compressed, no language, no translated key
      chunk("iTXt", Buffer.concat([Buffer.from(`${key}\0\0\0\0\0`, "latin1"), Buffer.from(text, "utf8")]));
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const framed = Buffer.alloc(body.length + 8);
  framed.writeUInt32BE(data.length, 0);
  body.copy(framed, 4);
  framed.writeUInt32BE(crc32(body), framed.length - 4);
  return framed;
}
