// All decoding of foreign images: trainings, scorers and checks use it.
import { UserError } from "@spo/torch/files";
import sharp, { type Sharp, type SharpOptions } from "sharp";
import { endingOf } from "./image-bytes.js";
import "./image-loaders.js";

/** No image of a preference set has more pixels; a file that says so wants to fill the memory. */
const MOST_PIXELS = 100_000_000;
/**
 * The most bytes that one byte of deflate can become. A PNG with fewer bytes than its pixels need at one bit each is cut or false. Source:
 * zlib's technical details.
 */
const MOST_DEFLATED = 1032;
/** Pixels that are decoded at the same time; an image of more waits until it is alone. */
export const PIXELS_IN_FLIGHT = 50_000_000;

/** An encoded image that was looked into but not decoded. */
export interface OpenImage {
  /** Sides as it is meant to be seen. */
  width: number;
  height: number;
  format: string;
  /** Decodes it: upright, RGB in 8 bits, on white where it is transparent. */
  decoded(): Promise<Sharp>;
}

/**
 * Opens the encoded bytes of an image. The colours are those of Pillow's `convert("RGB")`: of 16 bits the upper 8, grey and palette as
 * they look, CMYK by (1 − c)(1 − k), colour profiles not applied, of an animation the first frame. Unlike there transparency is put on
 * white, and the image is turned upright as its EXIF orientation says.
 *
 * Throws an Error for what is no JPEG, PNG or WebP, and for more than 100 million pixels.
 */
export async function openImage(encoded: Uint8Array): Promise<OpenImage> {
  if (encoded.byteLength === 0) throw new Error("it is empty");
  if (endingOf(encoded) === undefined) throw new Error("it is no JPEG, PNG or WebP");
  const options: SharpOptions = { limitInputPixels: MOST_PIXELS, ignoreIcc: true, pages: 1 };
  const image = sharp(encoded, options);
  const { autoOrient, format, space } = await image.metadata();
  const { width, height } = autoOrient;
  if (!(width * height <= MOST_PIXELS)) throw new Error(`it has more than ${MOST_PIXELS} pixels`);
  if (format === "png" && width * height > 8 * MOST_DEFLATED * encoded.byteLength)
    throw new Error(`it is too short for its ${width}×${height} pixels`);
  return {
    ...{ width, height, format },
    decoded: async () =>
      space === "cmyk"
        ? fromCmyk(encoded, options)
        : image.autoOrient().flatten({ background: "white" }).toColourspace("srgb"),
  };
}

/** CMYK as Pillow converts it: each colour times the light that black leaves, in whole numbers. */
async function fromCmyk(encoded: Uint8Array, options: SharpOptions): Promise<Sharp> {
  const { data, info } = await sharp(encoded, options)
    .pipelineColourspace("cmyk")
    .autoOrient()
    .toColourspace("cmyk")
    .raw()
    .toBuffer({ resolveWithObject: true });
  const rgb = new Uint8Array(3 * info.width * info.height);
  for (let from = 0, to = 0; to < rgb.length; from += info.channels) {
    const light = 255 - (data[from + 3] as number);
    for (let colour = 0; colour < 3; colour++) {
      const product = (data[from + colour] as number) * light + 128;
      rgb[to++] = Math.max(0, light - (((product >> 8) + product) >> 8));
    }
  }
  return sharp(rgb, { raw: { width: info.width, height: info.height, channels: 3 } });
}

/** Encoded image (PNG, JPEG, WebP) → RGB bytes, height·width·3, as `openImage` describes. Throws a UserError for a broken one. */
export async function decodeRgb(
  encoded: Uint8Array,
  name = "an image",
): Promise<{ data: Uint8Array; width: number; height: number }> {
  try {
    const image = await openImage(encoded);
    return await inFlight(image.width * image.height, async () => {
      const { data, info } = await (await image.decoded())
        .removeAlpha()
        .raw()
        .toBuffer({ resolveWithObject: true });
      return {
        data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
        width: info.width,
        height: info.height,
      };
    });
  } catch (error) {
    throw new UserError(`${name} does not decode: ${(error as Error).message}`, {
      code: "DATA",
      cause: error,
    });
  }
}

let pixels = 0;
const waiting: (() => void)[] = [];

/** Does something with so many pixels as soon as there is room for them. */
async function inFlight<T>(count: number, act: () => Promise<T>): Promise<T> {
  while (pixels > 0 && pixels + count > PIXELS_IN_FLIGHT)
    await new Promise<void>((resolve) => waiting.push(resolve));
  pixels += count;
  try {
    return await act();
  } finally {
    pixels -= count;
    for (const one of waiting.splice(0)) one();
  }
}
