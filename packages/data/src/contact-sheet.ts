import sharp from "sharp";
import { openImage } from "./open-image.js";

/**
 * Images on one sheet, row by row, on white with gaps.
 *
 * images: encoded, each shrunk or enlarged to side × side; in the place of one that does not decode is a grey square. Gives a PNG.
 */
export async function contactSheet(
  images: readonly Uint8Array[],
  { columns, side = 128, gap = 8 }: { columns: number; side?: number; gap?: number },
): Promise<Uint8Array> {
  const cell = side + gap;
  const grey = await sharp({ create: { width: side, height: side, channels: 3, background: "#bbb" } })
    .png()
    .toBuffer();
  const tiles = await Promise.all(
    images.map(async (image, i) => ({
      input: await tile(image, side).catch(() => grey),
      left: gap + (i % columns) * cell,
      top: gap + Math.floor(i / columns) * cell,
    })),
  );
  const size = { width: gap + columns * cell, height: gap + Math.ceil(images.length / columns) * cell };
  return sharp({ create: { ...size, channels: 3, background: "white" } })
    .composite(tiles)
    .png()
    .toBuffer();
}

async function tile(image: Uint8Array, side: number): Promise<Buffer> {
  const decoded = await (await openImage(image)).decoded();
  return decoded
    .resize(side, side, { fit: "contain", background: "white", kernel: "cubic" })
    .png()
    .toBuffer();
}
