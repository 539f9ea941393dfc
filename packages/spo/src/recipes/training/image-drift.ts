// How far images have moved from the base's in what reward hacking shows first: colour, contrast and fine detail.
import { cat, scope, type Tensor } from "@spo/torch";

/** Means over images, of pixels from 0 to 1. */
export interface ImageStatistics {
  /** Largest less smallest channel of a pixel: how far it is from grey. */
  saturation: number;
  /** Standard deviation of an image's luma. */
  contrast: number;
  /** Mean square of luma less the mean of its four neighbours. */
  highFrequency: number;
}

/** images: [n, 3, h, w], about [−1, 1], at least 3×3; what is beyond is cut off, as where they are written. Luma: ITU-R BT.601. */
export function imageStatistics(images: Tensor): ImageStatistics {
  return scope(() => {
    const pixels = images.add(1).div(2).clamp(0, 1);
    const [red, green, blue] = pixels.unbind(1) as [Tensor, Tensor, Tensor];
    const luma = red.mul(0.299).add(green, { alpha: 0.587 }).add(blue, { alpha: 0.114 }); // [n, h, w]
    const [height, width] = luma.shape.slice(1) as [number, number];
    const inner = (down: number, right: number): Tensor =>
      luma.narrow(1, 1 + down, height - 2).narrow(2, 1 + right, width - 2);
    const around = inner(-1, 0).add(inner(1, 0)).add(inner(0, -1)).add(inner(0, 1)).div(4);
    const centred = luma.sub(luma.mean([1, 2], true));
    const [saturation, contrast, highFrequency] = cat([
      pixels
        .amax([1])
        .sub(pixels.amin([1]))
        .mean()
        .reshape([1]),
      centred.square().mean([1, 2]).sqrt().mean().reshape([1]),
      inner(0, 0).sub(around).square().mean().reshape([1]),
    ]).toNumbers() as [number, number, number];
    return { saturation, contrast, highFrequency };
  });
}

/** Mean distance between two images of one prompt: the root of their mean squared difference, pixels from −1 to 1. [n, 3, h, w] a seed. */
export function pixelDiversity(seeds: readonly Tensor[]): number {
  return scope(() => {
    const apart = seeds.flatMap((one, i) =>
      seeds.slice(i + 1).map((other) => one.sub(other).square().mean([1, 2, 3]).sqrt()),
    );
    return cat(apart).mean().item();
  });
}
