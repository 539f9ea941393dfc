import { scope, type Tensor, tensor } from "@spo/torch";
import { halfToEven } from "@spo/torch/rounding";

/** How pixels become a scorer's input. */
export interface ScoreProcessor {
  /** Side of the square that the vision tower sees, in pixels. */
  size: number;
  /** Per channel, of pixels in [0, 1]. */
  mean: readonly number[];
  std: readonly number[];
}

/** CLIP's own means and deviations at the given size. */
export const clipProcessor = (size: number): ScoreProcessor => ({
  size,
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
});

/**
 * Decoded images as the resampler shows them to the preference model.
 *
 * image [n, 3, h, w] about [−1, 1], not clamped → [n, 3, size, size], normalised.
 * Bicubic with a = −0.75 and half-pixel centres, without antialias; the short side becomes `size`, the rest is cut off evenly.
 * Source: SPO's reference implementation; algorithm 3a.
 */
export function scorePixels(image: Tensor, processor: ScoreProcessor): Tensor {
  return scope(() => {
    const square = centreCrop(resizeShortSide(image, processor.size), processor.size);
    return normalise(square.mul(0.5).add_(0.5).clamp_(0, 1), processor);
  });
}

/**
 * Decoded images as the preference model is trained on. The clamp stands before the resize, and the aspect is not kept.
 *
 * image [n, 3, h, w] about [−1, 1] → [n, 3, size, size], normalised. Source: algorithm 3b.
 */
export function trainPixels(image: Tensor, processor: ScoreProcessor): Tensor {
  return scope(() => {
    const pixels = image.mul(0.5).add_(0.5).clamp_(0, 1);
    return normalise(bicubic(pixels, processor.size, processor.size).clamp(0, 1), processor);
  });
}

/** Scales so that the short side is `size`, each side rounded to whole pixels. image [n, 3, h, w] → [n, 3, h', w']. */
export function resizeShortSide(image: Tensor, size: number): Tensor {
  const [, , height, width] = image.shape as [number, number, number, number];
  const scale = size / Math.min(height, width);
  return bicubic(image, Math.floor(height * scale + 0.5), Math.floor(width * scale + 0.5));
}

/** The middle square. image [n, 3, h, w] → [n, 3, size, size]. */
export function centreCrop(image: Tensor, size: number): Tensor {
  const [, , height, width] = image.shape as [number, number, number, number];
  if (height === width) return image;
  const top = halfToEven((height - size) / 2);
  const left = halfToEven((width - size) / 2);
  return image.narrow(2, top, size).narrow(3, left, size);
}

function bicubic(image: Tensor, height: number, width: number): Tensor {
  const [, , h, w] = image.shape;
  return h === height && w === width ? image : image.upsampleBicubic2d([height, width], false);
}

/** (pixels − mean) / std, channel by channel. pixels [n, 3, h, w] in [0, 1]. */
export function normalise(pixels: Tensor, { mean, std }: ScoreProcessor): Tensor {
  const perChannel = (values: readonly number[]): Tensor =>
    tensor([...values], { shape: [1, 3, 1, 1], device: pixels.device });
  return pixels.sub(perChannel(mean)).div_(perChannel(std));
}
