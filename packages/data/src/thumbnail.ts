import { openImage } from "./open-image.js";

/** An encoded image as a WebP of at most side × side pixels, for a page. Throws an Error for what does not decode. */
export async function thumbnail(encoded: Uint8Array, side: number): Promise<Uint8Array> {
  const image = await (await openImage(encoded)).decoded();
  const small = image.resize(side, side, { fit: "inside", withoutEnlargement: true });
  return new Uint8Array(await small.webp({ quality: 82 }).toBuffer());
}
