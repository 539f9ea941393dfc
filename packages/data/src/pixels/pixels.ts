import { cat, type Device, notFiniteAt, scope, type Tensor, tensor } from "@spo/torch";
import { UserError } from "@spo/torch/files";
import sharp from "sharp";
import { decodeRgb } from "../open-image.js";

/** RGB bytes → pixels in [−1, 1], float32 [1, 3, height, width]. */
export function pixelsFromRgb({
  data,
  width,
  height,
}: {
  data: Uint8Array;
  width: number;
  height: number;
}): Tensor {
  return scope(() =>
    tensor(data, { shape: [1, height, width, 3] })
      .to({ dtype: "float32" })
      .permute([0, 3, 1, 2])
      .contiguous()
      .div(127.5)
      .sub(1),
  );
}

/** RGB bytes of n images, [n, side, side, 3] → pixels in [−1, 1], float32 [n, 3, side, side]. They are moved to the device as bytes. */
export function pixelsFromBytes(
  bytes: Uint8Array,
  side: number,
  { device }: { device?: Device } = {},
): Tensor {
  return scope(() =>
    tensor(bytes, { shape: [bytes.length / (3 * side * side), side, side, 3] })
      .to({ device })
      .permute([0, 3, 1, 2])
      .to({ dtype: "float32" })
      .contiguous()
      .div(127.5)
      .sub(1),
  );
}

/** Images of one size → pixels in [−1, 1], [n, 3, h, w]. Throws a UserError where an image has another size than the first. */
export async function pixelsOf(images: readonly Uint8Array[], name = "images"): Promise<Tensor> {
  const decoded = await Promise.all(images.map((image, i) => decodeRgb(image, `${name}, row ${i}`)));
  const first = decoded[0];
  if (!first) throw new UserError(`${name}: there is no image.`, { code: "DATA" });
  const odd = decoded.findIndex(({ width, height }) => width !== first.width || height !== first.height);
  if (odd >= 0) {
    throw new UserError(
      `${name}: row ${odd} is ${decoded[odd]?.width}×${decoded[odd]?.height}, row 0 is ${first.width}×${first.height}; all must have one size.`,
      { code: "DATA" },
    );
  }
  return scope(() => cat(decoded.map(pixelsFromRgb)));
}

/** Throws a UserError (`NUMERIC`) where pixels are not finite: as bytes NaN would be black and infinity white. name: what they are. */
export function requireFinitePixels(pixels: Tensor, name = "an image"): void {
  const bad = scope(() => notFiniteAt(pixels).sum().item());
  if (bad === 0) return;
  throw new UserError(`${name} is not finite: ${bad} of ${pixels.numel} values are NaN or infinity.`, {
    code: "NUMERIC",
    hint: "The model that made it is damaged or has run away; in float16 a computation may have overflowed.",
  });
}

/**
 * Pixels in [−1, 1] [3, h, w] or [1, 3, h, w] → RGB bytes. Values beyond are clamped; rounding as diffusers does.
 *
 * Throws a UserError (`NUMERIC`) for pixels that are not finite. name: of the image, for that.
 */
export function rgbFromPixels(
  pixels: Tensor,
  name?: string,
): { data: Uint8Array; width: number; height: number } {
  return scope(() => {
    requireFinitePixels(pixels, name);
    const image = pixels.ndim === 4 ? pixels.select(0, 0) : pixels;
    const [, height, width] = image.shape as [number, number, number];
    const bytes = image
      .detach()
      .div(2)
      .add(0.5)
      .clamp(0, 1)
      .mul(255)
      .round()
      .to({ dtype: "uint8" })
      .permute([1, 2, 0])
      .contiguous();
    return { data: bytes.toTypedArray() as Uint8Array, width, height };
  });
}

/** RGB bytes → a PNG file's bytes. */
export async function encodePng(
  data: Uint8Array,
  width: number,
  height: number,
  /** A larger image is made this wide and high at most. */
  { most }: { most?: number } = {},
): Promise<Uint8Array> {
  let image = sharp(data, { raw: { width, height, channels: 3 } });
  if (most !== undefined)
    image = image.resize({ width: most, height: most, fit: "inside", withoutEnlargement: true });
  return new Uint8Array(await image.png().toBuffer());
}

/** Clamps to [−1, 1] and rounds to the 256 levels of a file. Throws a UserError (`NUMERIC`) for pixels that are not finite. */
export function quantised(pixels: Tensor): Tensor {
  requireFinitePixels(pixels);
  return scope(() => pixels.clamp(-1, 1).add(1).mul(127.5).round().div(127.5).sub(1));
}
