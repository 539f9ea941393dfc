// Pillow's bicubic resize of 8-bit images, to the bit: the scores that papers report are of images that it made smaller.
import type { RgbImage } from "./reward.js";

/** Bits behind the binary point of a weight. */
const PRECISION = 22;
const CHANNELS = 3;

/**
 * RGB image → RGB image of the given size. Bicubic with a = −0.5, widened by the scale when shrinking (antialias), in fixed-point numbers;
 * rows first, rounded to bytes, then columns. Pillow 13 turns the order for images more than about twice as high as wide, which changes
 * bytes by some levels; the scorers were published with the order here, of all releases before it.
 *
 * Source: Pillow, src/libImaging/Resample.c.
 */
export function pilBicubic(image: RgbImage, height: number, width: number): RgbImage {
  const wide = width === image.width ? image : acrossRows(image, width);
  return height === image.height ? wide : downColumns(wide, height);
}

/** What one output pixel is made of: the first input pixel, and the weights from there on. */
interface Taps {
  first: number;
  weights: Float64Array;
}

function tapsOf(inSize: number, outSize: number): Taps[] {
  const scale = inSize / outSize;
  const filterScale = Math.max(scale, 1);
  const support = 2 * filterScale;
  return Array.from({ length: outSize }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(inSize, Math.trunc(centre + support + 0.5));
    const weights = new Float64Array(end - first);
    let sum = 0;
    for (let x = 0; x < weights.length; x++) {
      const weight = bicubic((x + first - centre + 0.5) / filterScale);
      weights[x] = weight;
      sum += weight;
    }
    for (let x = 0; x < weights.length; x++) {
      const weight = ((weights[x] as number) / sum) * 2 ** PRECISION;
      weights[x] = Math.trunc(weight + (weight < 0 ? -0.5 : 0.5));
    }
    return { first, weights };
  });
}

function bicubic(x: number): number {
  const a = -0.5;
  const d = Math.abs(x);
  if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  if (d < 2) return (((d - 5) * d + 8) * d - 4) * a;
  return 0;
}

/** Sum of products → byte. The sum stays far below 2⁵³, so that it is exact. */
const toByte = (sum: number): number =>
  Math.min(255, Math.max(0, Math.floor((sum + 2 ** (PRECISION - 1)) / 2 ** PRECISION)));

function acrossRows({ data, width: inWidth, height }: RgbImage, width: number): RgbImage {
  const out = new Uint8Array(height * width * CHANNELS);
  const taps = tapsOf(inWidth, width);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const { first, weights } = taps[x] as Taps;
      let [r, g, b] = [0, 0, 0];
      let at = (y * inWidth + first) * CHANNELS;
      for (let k = 0; k < weights.length; k++) {
        const weight = weights[k] as number;
        r += weight * (data[at++] as number);
        g += weight * (data[at++] as number);
        b += weight * (data[at++] as number);
      }
      const to = (y * width + x) * CHANNELS;
      out[to] = toByte(r);
      out[to + 1] = toByte(g);
      out[to + 2] = toByte(b);
    }
  }
  return { data: out, width, height };
}

function downColumns({ data, width, height: inHeight }: RgbImage, height: number): RgbImage {
  const row = width * CHANNELS;
  const out = new Uint8Array(height * row);
  const sums = new Float64Array(row);
  for (const [y, { first, weights }] of tapsOf(inHeight, height).entries()) {
    sums.fill(0);
    for (let k = 0; k < weights.length; k++) {
      const weight = weights[k] as number;
      const from = (first + k) * row;
      for (let x = 0; x < row; x++) sums[x] = (sums[x] as number) + weight * (data[from + x] as number);
    }
    for (let x = 0; x < row; x++) out[y * row + x] = toByte(sums[x] as number);
  }
  return { data: out, width, height };
}
