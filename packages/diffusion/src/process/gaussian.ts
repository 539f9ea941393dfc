import { scope, type Tensor, tensor } from "@spo/torch";
import { type PerRow, plus } from "./per-row.js";

/** N(mean, std²·I) over x_{t−1}, row by row. */
export interface Gaussian {
  /** [n, c, h, w] */
  mean: Tensor;
  /** The same for all elements of a row; 0: no spread. */
  std: PerRow;
}

/** A step's Gaussian, and the x̂0 that it assumes. */
export interface GaussianStep extends Gaussian {
  /** [n, c, h, w] */
  x0: Tensor;
}

/** mean + std·noise. noise: standard normal, of the mean's shape or with further axes before it. */
export const sampleGaussian = ({ mean, std }: Gaussian, noise: Tensor): Tensor => plus(mean, noise, std);

/**
 * log N(x; mean, std²), averaged (not summed) over all axes but the first. x, mean [n, c, h, w] → [n].
 *
 * The mean makes SPO's β independent of the latents' size. Source: SPO's reference implementation.
 */
export function gaussianLogProb(x: Tensor, { mean, std }: Gaussian): Tensor {
  return scope(() => {
    const axes = x.shape.slice(1).map((_, i) => i + 1);
    const squares = x.sub(mean).square().mean(axes); // [n]
    const constant = (s: number): number => -Math.log(s) - 0.5 * Math.log(2 * Math.PI);
    if (typeof std === "number") return squares.div(-2 * std ** 2).add(constant(std));
    const ofRows = (of: (s: number) => number): Tensor => tensor(std.map(of), { device: x.device });
    return ofRows(constant).addcmul(
      squares,
      ofRows((s) => -1 / (2 * s ** 2)),
    );
  });
}
