import sharp from "sharp";

/**
 * Images on one sheet, row by row, on white with gaps.
 *
 * images: encoded, each shrunk or enlarged to side × side. Gives a PNG.
 */
export async function contactSheet(
  images: readonly Uint8Array[],
  { columns, side = 128, gap = 8 }: { columns: number; side?: number; gap?: number },
): Promise<Uint8Array> {
  const cell = side + gap;
  const tiles = await Promise.all(
    images.map(async (image, i) => ({
      input: await sharp(image)
        .resize(side, side, { fit: "contain", background: "white", kernel: "cubic" })
        .png()
        .toBuffer(),
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
