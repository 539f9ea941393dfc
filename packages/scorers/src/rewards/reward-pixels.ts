// How each published scorer turns an image into its input. The small differences are kept: scores are comparable only with the same
// preprocessing.
import { _upsampleBicubic2dAa, cat, scope, type Tensor, tensor } from "@spo/torch";
import { halfToEven } from "@spo/torch/rounding";
import { normalise, type ScoreProcessor } from "../clip/preprocess.js";
import { pilBicubic } from "./pil-resize.js";
import type { RgbImage } from "./reward.js";

/**
 * transformers' CLIPImageProcessor on PIL images: short side to `size` by Pillow's bicubic, centre cut at the floor of the half, normalise.
 *
 * → [n, 3, size, size]. The first releases with PickScore and CLIP did it so; later ones resize tensors, which differs in the last bit.
 */
export function transformersPixels(images: readonly RgbImage[], processor: ScoreProcessor): Tensor {
  return pixelsByPil(images, processor, Math.floor);
}

/**
 * torchvision's Resize and CenterCrop on PIL images, as in OpenAI's CLIP and ImageReward: as `transformersPixels`, but an odd rest of the
 * cut is rounded to the even half. → [n, 3, size, size]
 */
export function torchvisionPixels(images: readonly RgbImage[], processor: ScoreProcessor): Tensor {
  return pixelsByPil(images, processor, halfToEven);
}

/**
 * HPS v2's own: to numbers first, then bicubic with antialias (a = −0.5), neither rounded nor clamped; centre cut; normalise.
 *
 * → [n, 3, size, size]. Source: hpsv2 1.2.0, open_clip/transform.py, whose ToTensor stands before Resize.
 */
export function hpsPixels(images: readonly RgbImage[], processor: ScoreProcessor): Tensor {
  const { size } = processor;
  return normalised(images, processor, (image, height, width) => {
    const plain = unitPixels(image);
    const same = height === image.height && width === image.width;
    const resized = same ? plain : _upsampleBicubic2dAa(plain, [height, width], false);
    return resized
      .narrow(2, halfToEven((height - size) / 2), size)
      .narrow(3, halfToEven((width - size) / 2), size);
  });
}

/** square: of an image and the size that brings its short side to the model's, the cut out square. */
function normalised(
  images: readonly RgbImage[],
  processor: ScoreProcessor,
  square: (image: RgbImage, height: number, width: number) => Tensor,
): Tensor {
  return scope(() => {
    const squares = images.map((image) => {
      const { height, width } = shortSideTo(image, processor.size);
      return square(image, height, width);
    });
    return normalise(cat(squares), processor);
  });
}

/** Sizes with the short side at `size`; the long one is cut to a whole number. */
function shortSideTo({ height, width }: RgbImage, size: number): { height: number; width: number } {
  const long = Math.trunc((size * Math.max(height, width)) / Math.min(height, width));
  return height <= width ? { height: size, width: long } : { height: long, width: size };
}

function pixelsByPil(
  images: readonly RgbImage[],
  processor: ScoreProcessor,
  half: (x: number) => number,
): Tensor {
  const { size } = processor;
  return normalised(images, processor, (image, height, width) =>
    unitPixels(
      cut(pilBicubic(image, height, width), half((height - size) / 2), half((width - size) / 2), size),
    ),
  );
}

/** The square of `size` whose corner is at (top, left). */
function cut({ data, width }: RgbImage, top: number, left: number, size: number): RgbImage {
  const out = new Uint8Array(size * size * 3);
  for (let y = 0; y < size; y++) {
    const from = ((top + y) * width + left) * 3;
    out.set(data.subarray(from, from + size * 3), y * size * 3);
  }
  return { data: out, width: size, height: size };
}

/** Bytes → [1, 3, h, w] in [0, 1]. */
const unitPixels = ({ data, width, height }: RgbImage): Tensor =>
  tensor(data, { shape: [1, height, width, 3] })
    .permute([0, 3, 1, 2])
    .to({ dtype: "float32" })
    .contiguous()
    .div(255);
