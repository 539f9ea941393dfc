import fc from "fast-check";
import sharp from "sharp";
import { expect, test } from "vitest";
import { readPngText, withPngText } from "./png-text.js";

const png = await sharp({ create: { width: 3, height: 2, channels: 3, background: "#123456" } })
  .png()
  .toBuffer();

test("text comes back as it was, whatever its letters, and the image stays what it was", async () => {
  const text = fc.string({ unit: fc.constantFrom("a", "é", "\n", "€", "🦜", ":") });
  await fc.assert(
    fc.asyncProperty(text, text, async (parameters, spo) => {
      const marked = withPngText(png, { parameters, spo });
      expect(readPngText(marked)).toEqual({ parameters, spo });
      expect(await sharp(marked).raw().toBuffer()).toEqual(await sharp(png).raw().toBuffer());
    }),
    { numRuns: 30 },
  );
});

test("text in Latin-1 stands in a tEXt chunk, other text in an iTXt chunk, with the right check sum", () => {
  const [plain, other] = [withPngText(png, { k: "é" }), withPngText(png, { k: "€" })];
  expect(Buffer.from(plain).toString("latin1", 37, 41)).toBe("tEXt");
  expect(Buffer.from(other).toString("latin1", 37, 41)).toBe("iTXt");
  // CRC-32 of "tEXtk\0\xe9", computed with Python's zlib.
  expect(Buffer.from(plain).readUInt32BE(44)).toBe(2880732485);
});
