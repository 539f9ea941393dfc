import sharp from "sharp";
import { openImage } from "./open-image.js";

/**
 * Images on one sheet, row by row, on white with gaps.
 *
 * images: encoded, each shrunk or enlarged to side × side; in the place of one that does not decode is a grey square. labels: above the
 * columns and before the rows. Gives a PNG.
 */
export async function contactSheet(
  images: readonly Uint8Array[],
  {
    columns,
    side = 128,
    gap = 8,
    labels,
  }: { columns: number; side?: number; gap?: number; labels?: SheetLabels },
): Promise<Uint8Array> {
  const cell = side + gap;
  const [left, top] = [labels?.rows ? LABEL_WIDTH : 0, labels ? LABEL_HEIGHT : 0];
  const grey = await sharp({ create: { width: side, height: side, channels: 3, background: "#bbb" } })
    .png()
    .toBuffer();
  const tiles = await Promise.all(
    images.map(async (image, i) => ({
      input: await tile(image, side).catch(() => grey),
      left: left + gap + (i % columns) * cell,
      top: top + gap + Math.floor(i / columns) * cell,
    })),
  );
  const size = {
    width: left + gap + columns * cell,
    height: top + gap + Math.ceil(images.length / columns) * cell,
  };
  const fields = [
    ...(labels?.columns ?? []).map((label, i) => ({
      ...{ label, left: left + gap + i * cell, top: 0, width: side, height: LABEL_HEIGHT },
    })),
    ...(labels?.rows ?? []).map((label, i) => ({
      ...{ label, left: 0, top: top + gap + i * cell, width: LABEL_WIDTH, height: side },
    })),
  ];
  for (const field of fields) tiles.push(...(await words(field)));
  return sharp({ create: { ...size, channels: 3, background: "white" } })
    .composite(tiles)
    .png()
    .toBuffer();
}

/** What stands above the columns and before the rows of a sheet. */
export interface SheetLabels {
  columns: readonly string[];
  rows?: readonly string[];
}

const [LABEL_WIDTH, LABEL_HEIGHT] = [120, 28];
/** A field with a line of text. */
interface Field {
  label: string;
  left: number;
  top: number;
  width: number;
  height: number;
}

/** The text in the middle of its field, shrunk to its size; nothing for a blank one. */
async function words({
  label,
  left,
  top,
  width,
  height,
}: Field): Promise<{ input: Buffer; left: number; top: number }[]> {
  if (label.trim() === "") return [];
  const escaped = label
    .replace(/[&<>"']/g, (character) => `&#${character.codePointAt(0)};`)
    .replace(/\p{Cc}/gu, " ");
  const text = `<span foreground="#222222">${escaped}</span>`;
  const drawn = await sharp({ text: { text, font: "sans 12", dpi: 96, rgba: true } })
    .png()
    .toBuffer();
  const { data, info } = await sharp(drawn)
    .resize(width - 8, height - 4, { fit: "inside", withoutEnlargement: true })
    .png()
    .toBuffer({ resolveWithObject: true });
  const middle = {
    left: left + Math.round((width - info.width) / 2),
    top: top + Math.round((height - info.height) / 2),
  };
  return [{ input: data, ...middle }];
}

async function tile(image: Uint8Array, side: number): Promise<Buffer> {
  const decoded = await (await openImage(image)).decoded();
  return decoded
    .resize(side, side, { fit: "contain", background: "white", kernel: "cubic" })
    .png()
    .toBuffer();
}
