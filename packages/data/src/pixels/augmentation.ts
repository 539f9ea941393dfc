// Random changes of artwork on white. Each takes a generator, so that a training step can be drawn again.
import {
  affineGridGenerator,
  avgPool2d,
  type Device,
  type Generator,
  gridSampler,
  rand,
  randint,
  randn,
  scope,
  stack,
  type Tensor,
  tensor,
  where,
} from "@spo/torch";

const BILINEAR = 0;
const ZEROS = 0;

/** U(low, high) of shape [n, 1, 1, 1]. */
const uniform = (
  n: number,
  low: number,
  high: number,
  generator: Generator,
  { channels = 1, device }: { channels?: number; device?: Device } = {},
): Tensor =>
  rand([n, channels, 1, 1], { generator, device })
    .mul(high - low)
    .add(low);

/** Samples x on white where the grid [n, h, w, 2] points outside. */
const sample = (x: Tensor, grid: Tensor): Tensor =>
  gridSampler(x.sub(1), grid, BILINEAR, ZEROS, false).add(1);

export interface Augmentation {
  /** Largest change of saturation, and in part of tint and brightness, as a share. */
  colour?: number;
  /** Largest change of size, as a share. */
  scale?: number;
  /** Largest shift, as a share of the side. */
  shift?: number;
}

/** Mirrors, resizes, shifts and tints images. x [n, 3, h, w] in [−1, 1] → the same shape. */
export function augment(
  x: Tensor,
  generator: Generator,
  { colour = 0.15, scale = 0.1, shift = 0.06 }: Augmentation = {},
): Tensor {
  return scope(() => recolour(move(x, generator, { scale, shift }), generator, colour));
}

/** Mirrors half of the images, resizes and shifts all. x [n, 3, h, w] → the same shape. */
export function move(
  x: Tensor,
  generator: Generator,
  { scale, shift }: Record<"scale" | "shift", number>,
): Tensor {
  return scope(() => {
    const n = x.shape[0] as number;
    const numbers = (low: number, high: number): number[] => uniform(n, low, high, generator).toNumbers();
    const sizes = numbers(1 - scale, 1 + scale);
    const mirrored = numbers(0, 1);
    const [right, down] = [numbers(-2 * shift, 2 * shift), numbers(-2 * shift, 2 * shift)];
    const theta = tensor(
      sizes.map((size, i) => [
        [(mirrored[i] as number) < 0.5 ? -size : size, 0, right[i] as number],
        [0, size, down[i] as number],
      ]),
      { device: x.device },
    );
    return sample(x, affineGridGenerator(theta, x.shape, false));
  });
}

/** Changes saturation, tint and brightness; white stays white. x [n, 3, h, w] → the same shape. */
export function recolour(x: Tensor, generator: Generator, colour: number): Tensor {
  return scope(() => {
    if (colour === 0) return x;
    const n = x.shape[0] as number;
    const { device } = x;
    const grey = x.mean([1], true);
    const y = grey.add(x.sub(grey).mul(uniform(n, 1 - colour, 1 + colour, generator, { device })));
    const tint = uniform(n, 1 - 0.4 * colour, 1 + 0.4 * colour, generator, { channels: 3, device });
    const brightness = uniform(n, 1 - 0.6 * colour, 1 + 0.6 * colour, generator, { device });
    return y.neg().add(1).mul(tint).mul(brightness).neg().add(1);
  });
}

/** Makes images clearly paler or stronger, and greyer or gaudier. x [n, 3, h, w] in [−1, 1] → the same shape. */
export function fade(x: Tensor, generator: Generator): Tensor {
  return scope(() => {
    const n = x.shape[0] as number;
    const { device } = x;
    const either = (low: readonly [number, number], high: readonly [number, number]): Tensor =>
      where(
        uniform(n, 0, 1, generator, { device }).lt(0.6),
        uniform(n, ...low, generator, { device }),
        uniform(n, ...high, generator, { device }),
      );
    const grey = x.mean([1], true);
    const y = grey.add(x.sub(grey).mul(either([0.5, 0.9], [1.1, 1.5])));
    return y
      .neg()
      .add(1)
      .mul(either([0.5, 0.85], [1.15, 1.4]))
      .neg()
      .add(1)
      .clamp(-1, 1);
  });
}

/**
 * A colour cast, warm above 0 and cold below; of equal strength either way. White stays white. x [n, 3, h, w] in [−1, 1], strength in
 * [−1, 1] → the same shape.
 */
export function turnHue(x: Tensor, strength: number): Tensor {
  return scope(() => {
    // Ink of the complementary colour: blue is taken away, or red.
    const ink = tensor([1 - 0.35 * strength, 1, 1 + 0.35 * strength], {
      device: x.device,
      shape: [1, 3, 1, 1],
    });
    return x.neg().add(1).mul(ink).neg().add(1).clamp(-1, 1);
  });
}

/** Greyer below 1, gaudier above. x [n, 3, h, w] in [−1, 1] → the same shape. */
export function saturate(x: Tensor, factor: number): Tensor {
  return scope(() => {
    const grey = x.mean([1], true);
    return grey.add(x.sub(grey).mul(factor)).clamp(-1, 1);
  });
}

/** Blurred below 0, at −1 as by 4×4 pixels, and sharpened above by so many times what a blur takes. x [n, 3, h, w] → the same shape. */
export function sharpen(x: Tensor, amount: number): Tensor {
  return scope(() => {
    const size = x.shape.slice(2) as [number, number];
    const fine = avgPool2d(x, [2, 2]).upsampleBilinear2d(size, false);
    if (amount >= 0) return x.add(x.sub(fine), { alpha: amount }).clamp(-1, 1);
    const coarse = avgPool2d(x, [4, 4]).upsampleBilinear2d(size, false);
    return fine.add(coarse.sub(fine).mul(2 * -amount - 1)).clamp(-1, 1);
  });
}

/** Smooth random fields, n of them in c channels, [n, c, side, side]. */
const field = (
  n: number,
  channels: number,
  { cells, side, device }: { cells: number; side: number; device: Device },
  generator: Generator,
): Tensor => randn([n, channels, cells, cells], { generator, device }).upsampleBicubic2d([side, side], false);

/**
 * Damages each image in one of six ways, drawn at random: blur, warp, a blob erased, a blob of another image, mixed colour channels, a
 * colour cast. x, other [n, 3, s, s] in [−1, 1] → the same shape.
 */
export function degrade(x: Tensor, other: Tensor, generator: Generator): Tensor {
  return scope(() => {
    const [n, , side] = x.shape as [number, number, number, number];
    const { device } = x;
    const kinds = randint(0, 6, [n], { generator }).toNumbers();
    const smooth = field(n, 1, { cells: 5, side, device }, generator);
    const blob = smooth.sub(0.6).mul(8).sigmoid();
    const coarse = avgPool2d(x, [4, 4]).upsampleBicubic2d([side, side], false);
    const fine = avgPool2d(x, [2, 2]).upsampleBilinear2d([side, side], false);
    const blurred = where(uniform(n, 0, 1, generator, { device }).lt(0.5), coarse, fine);
    const identity = tensor(Array.from({ length: n }, () => [[1, 0, 0], [0, 1, 0]]), { device }); // biome-ignore format: a matrix
    const bend = field(n, 2, { cells: 6, side, device }, generator).permute([0, 2, 3, 1]).mul(0.12);
    const warped = sample(x, affineGridGenerator(identity, x.shape, false).add(bend));
    const keep = blob.neg().add(1);
    const erased = x.mul(keep).add(blob);
    const mixed = x.mul(keep).add(other.mul(blob));
    const turn = uniform(n, 0.3, 1, generator, { device });
    const turned = x.mul(turn.neg().add(1)).add(x.roll([1], [1]).mul(turn));
    const cast = randn([n, 3, 1, 1], { generator, device }).mul(0.35).add(1);
    const tinted = x.neg().add(1).mul(cast).neg().add(1).clamp(-1, 1);
    const ways = [blurred, warped, erased, mixed, turned, tinted];
    return stack(kinds.map((kind, i) => (ways[kind] as Tensor).select(0, i)));
  });
}
