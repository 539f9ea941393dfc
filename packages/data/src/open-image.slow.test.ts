import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { crc32 } from "node:zlib";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ImagePool } from "./image-pool.js";
import { decodeRgb } from "./open-image.js";
import type { EncodedImage } from "./preference.js";

const folder = mkdtempSync(join(tmpdir(), "spo-open-image-"));
const cases = fileURLToPath(new URL("../../../../shared/cases/exif-in-scoring", import.meta.url));
let pool: ImagePool;
beforeAll(() => {
  pool = new ImagePool(2);
});
afterAll(async () => {
  await pool.close();
  rmSync(folder, { recursive: true });
});

const pixelsOf = async (image: EncodedImage, side: number): Promise<Uint8Array> => {
  const [answer] = await pool.pixels([image], { side, kernel: "bicubic" });
  if (!answer || "fault" in answer) throw new Error(answer?.fault);
  return answer.result;
};
const faultOf = async (image: EncodedImage): Promise<string | undefined> => {
  const [answer] = await pool.inspect([image]);
  return answer && "fault" in answer ? answer.fault : undefined;
};

/** Six colours in three rows of two, far enough apart to survive compression. */
const COLOURS = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255], [255, 0, 255]]; // biome-ignore format: a table
const raw = Uint8Array.from(COLOURS.flat());
const upright = () => sharp(raw, { raw: { width: 2, height: 3, channels: 3 } });

/**
 * Where the stored row r and column c of an image of 2×3 pixels lie upright. Source: EXIF 2.3, tag 0x0112: the sides of row 0 and column 0.
 */
const PLACES: Record<number, (r: number, c: number) => [row: number, column: number]> = {
  1: (r, c) => [r, c],
  2: (r, c) => [r, 1 - c],
  3: (r, c) => [2 - r, 1 - c],
  4: (r, c) => [2 - r, c],
  5: (r, c) => [c, r],
  6: (r, c) => [c, 1 - r],
  7: (r, c) => [2 - c, 1 - r],
  8: (r, c) => [2 - c, r],
};

describe("every EXIF orientation is turned upright", () => {
  test.each([1, 2, 3, 4, 5, 6, 7, 8])(
    "orientation %i, by trainings, scorers and checks",
    async (orientation) => {
      const size = orientation > 4 ? { width: 3, height: 2 } : { width: 2, height: 3 };
      const stored = Array.from({ length: 6 }, (_, i) => {
        const place = PLACES[orientation]?.(Math.floor(i / size.width), i % size.width) ?? [0, 0];
        return COLOURS[2 * place[0] + place[1]] as number[];
      });
      const pixels = await sharp(Uint8Array.from(stored.flat()), { raw: { ...size, channels: 3 } })
        .png()
        .toBuffer();
      for (const format of ["png", "webp"] as const) {
        const encoded = new Uint8Array(
          await sharp(pixels).toFormat(format, { lossless: true }).withMetadata({ orientation }).toBuffer(),
        );
        expect((await sharp(encoded).metadata()).orientation).toBe(orientation);
        const { data, width, height } = await decodeRgb(encoded);
        expect([width, height, [...data]]).toEqual([2, 3, [...raw]]);
        const [seen] = await pool.inspect([encoded.slice()]);
        expect(seen).toMatchObject({ result: { width: 2, height: 3 } });
        const crop = await pixelsOf(encoded, 2); // the rows 0 and 1: half of one pixel, rounded to even
        expect([...crop]).toEqual([...raw.subarray(0, 12)]);
      }
    },
  );

  const there = existsSync(cases);
  test.skipIf(!there)(
    "the reported image is scored as it is seen (skipped where ../shared/cases is not there)",
    async () => {
      const read = async (name: string) => decodeRgb(new Uint8Array(readFileSync(join(cases, name))));
      const [tagged, plain] = [await read("exif6.jpg"), await read("exif6-upright.png")];
      expect([tagged.width, tagged.height]).toEqual([plain.width, plain.height]);
      const worst = tagged.data.reduce(
        (most, value, i) => Math.max(most, Math.abs(value - (plain.data[i] as number))),
        0,
      );
      expect(worst).toBeLessThan(3);
    },
  );
});

describe("colours are Pillow's", () => {
  const rgb = async (encoded: Buffer): Promise<number[]> => [
    ...(await decodeRgb(new Uint8Array(encoded))).data,
  ];

  test("CMYK is (1 − c)(1 − k), in trainings too", async () => {
    const ink = { width: 8, height: 8, channels: 4 } as const;
    // sharp makes CMYK of RGB by a profile: what is stored is read back raw, and converted by hand.
    const jpeg = await sharp({
      create: { width: 8, height: 8, channels: 3, background: { r: 200, g: 40, b: 90 } },
    })
      .toColourspace("cmyk")
      .jpeg({ quality: 100 })
      .toBuffer();
    const inks = await sharp(jpeg).pipelineColourspace("cmyk").toColourspace("cmyk").raw().toBuffer();
    expect(inks.length).toBe(ink.width * ink.height * ink.channels);
    const [c = 0, m = 0, y = 0, k = 0] = inks;
    const expected = [c, m, y].map((value) => Math.round(255 * (1 - value / 255) * (1 - k / 255)));
    const seen = await rgb(jpeg);
    for (const [i, value] of expected.entries())
      expect(Math.abs((seen[i] as number) - value)).toBeLessThanOrEqual(1);
    expect([...(await pixelsOf(new Uint8Array(jpeg), 8)).subarray(0, 3)]).toEqual(seen.slice(0, 3));
  });

  test("of 16 bits the upper eight, grey three times, transparency on white", async () => {
    const deep = await sharp(Uint16Array.from([0x1234, 0xabcd, 0xff00]), {
      raw: { width: 1, height: 1, channels: 3 },
    })
      .toColourspace("rgb16")
      .png()
      .toBuffer();
    expect((await sharp(deep).metadata()).depth).toBe("ushort");
    expect(await rgb(deep)).toEqual([0x12, 0xab, 0xff]);
    const grey = await sharp(Uint8Array.of(7), { raw: { width: 1, height: 1, channels: 1 } })
      .toColourspace("b-w")
      .png()
      .toBuffer();
    expect(await rgb(grey)).toEqual([7, 7, 7]);
    const clear = await sharp(Uint8Array.of(9, 9, 9, 0), { raw: { width: 1, height: 1, channels: 4 } })
      .png()
      .toBuffer();
    expect(await rgb(clear)).toEqual([255, 255, 255]);
  });

  test("of an animation the first frame", async () => {
    const frames = Uint8Array.of(255, 0, 0, 0, 0, 255);
    const animated = await sharp(frames, { raw: { width: 1, height: 2, channels: 3, pageHeight: 1 } })
      .webp({ lossless: true })
      .toBuffer();
    expect((await sharp(animated).metadata()).pages).toBe(2);
    expect(await rgb(animated)).toEqual([255, 0, 0]);
  });
});

describe("what is no image is refused", () => {
  test("other formats, by their bytes and not by their names", async () => {
    const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>');
    const gif = Buffer.from("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7", "base64");
    const tiff = await upright().tiff().toBuffer();
    for (const [i, bytes] of [svg, gif, tiff, Buffer.from("%PDF-1.4"), Buffer.from("no picture")].entries()) {
      const path = join(folder, `${i}.png`);
      writeFileSync(path, bytes);
      expect(await faultOf({ path })).toBe("it is no JPEG, PNG or WebP");
      await expect(decodeRgb(new Uint8Array(bytes))).rejects.toThrow(/no JPEG, PNG or WebP/);
    }
    // Past the first bytes too: the decoders of other formats are shut.
    await expect(sharp(svg).raw().toBuffer()).rejects.toThrow();
  });

  test("folders, devices and pipes are not waited for", async () => {
    expect(await faultOf({ path: folder })).toMatch(/no ordinary file/);
    if (process.platform === "win32") return;
    expect(await faultOf({ path: "/dev/zero" })).toMatch(/no ordinary file/);
    const pipe = join(folder, "pipe.png");
    execFileSync("mkfifo", [pipe]);
    expect(await faultOf({ path: pipe })).toMatch(/no ordinary file/);
  });

  test("what is empty, absent, cut or too large", async () => {
    const path = join(folder, "cut.png");
    const noise = Uint8Array.from({ length: 300 * 300 * 3 }, (_, i) => (i * 7919) % 251);
    const whole = await sharp(noise, { raw: { width: 300, height: 300, channels: 3 } })
      .png()
      .toBuffer();
    writeFileSync(path, whole);
    expect(await faultOf({ path })).toBeUndefined();
    for (const format of ["png", "jpeg", "webp"] as const) {
      writeFileSync(path, await sharp(whole).toFormat(format).toBuffer());
      truncateSync(path, Math.floor(readFileSync(path).length * 0.9));
      expect(await faultOf({ path })).toBeDefined();
    }
    writeFileSync(path, "");
    expect(await faultOf({ path })).toBe("it is empty");
    expect(await faultOf({ path: join(folder, "none.png") })).toMatch(/ENOENT/);
    truncateSync(path, 257 << 20); // no byte of it is on the disk
    expect(await faultOf({ path })).toMatch(/more than 256 MB/);
  });

  test("a PNG that claims more pixels than its bytes can become, before room is made for them", async () => {
    const png = await sharp({ create: { width: 4, height: 4, channels: 3, background: "#f00" } })
      .png()
      .toBuffer();
    const claims = (width: number): Buffer => {
      const copy = Buffer.from(png);
      copy.writeUInt32BE(width, 16);
      copy.writeUInt32BE(crc32(copy.subarray(12, 29)), 29);
      return copy;
    };
    expect(await faultOf(claims(4))).toBeUndefined();
    expect(await faultOf(claims(20_000_000))).toBe("it is too short for its 20000000×4 pixels");
    const plain = await sharp({ create: { width: 9000, height: 9000, channels: 3, background: "#f00" } })
      .png({ palette: true, colours: 2, compressionLevel: 9 })
      .toBuffer();
    expect(await faultOf(plain)).toBeUndefined(); // as small as such an image can be
  });

  test("large images are decoded one after the other, whatever the number of threads", async () => {
    const side = 6000; // two at once would be more than the pixels in flight
    const large = await sharp({ create: { width: side, height: side, channels: 3, background: "red" } })
      .png({ compressionLevel: 1 })
      .toBuffer();
    const before = process.memoryUsage.rss();
    const many = await Promise.all(Array.from({ length: 6 }, () => pool.inspect([new Uint8Array(large)])));
    expect(many.flat().every((answer) => "result" in answer && answer.result.width === side)).toBe(true);
    expect(process.memoryUsage.rss() - before).toBeLessThan(400e6);
  }, 60_000);
});
