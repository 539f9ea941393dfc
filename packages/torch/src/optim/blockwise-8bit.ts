// Numbers in 8 bits, each block of them by its own largest. Source: Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization".
import type { Device } from "../dtype.js";
import { bucketize, zeros } from "../ops.gen.js";
import { keep, scope } from "../scope.js";
import { type Tensor, tensor } from "../tensor.js";

/** Numbers of a block. */
export const BLOCK = 256;

/**
 * The 256 values in [−1, 1], or [0, 1] without signs, that a code stands for, rising: a number of leading zero bits gives the decade, the
 * bits after them the place in it ("dynamic tree").
 */
export function dynamicMap(signed: boolean): number[] {
  const DECADES = 7;
  const values = [0, 1];
  for (let i = 0; i < DECADES; i++) {
    const count = 2 ** (signed ? i : i + 1);
    for (let j = 0; j < count; j++) {
      const middle = 0.1 + (0.9 * (j + 0.5)) / count;
      const value = 10 ** (i - DECADES + 1) * middle;
      values.push(value, ...(signed ? [-value] : []));
    }
  }
  return values.sort((a, b) => a - b);
}

/** Of a block of zeros, in place of dividing by 0. */
const SMALLEST_FLOAT = 1.2e-38;

/** A list of n numbers in 8 bits. */
export class Blockwise8bit {
  /** uint8 [n] */
  readonly codes: Tensor;
  /** Largest absolute value of each block, float32. */
  readonly largest: Tensor;
  readonly #map: Tensor;
  readonly #middles: Tensor;

  /** n zeros. */
  constructor(n: number, { signed, device }: { signed: boolean; device: Device }) {
    const map = dynamicMap(signed);
    const middles = map.slice(1).map((value, i) => (value + (map[i] as number)) / 2);
    this.#map = keep(tensor(map, { device }));
    this.#middles = keep(tensor(middles, { device }));
    this.codes = keep(zeros([n], { dtype: "uint8", device }).fill_(map.indexOf(0)));
    this.largest = keep(zeros([Math.ceil(n / BLOCK)], { device }));
  }

  /** float32 [count], from `start` on, which must begin a block. */
  read(start: number, count: number): Tensor {
    return scope(() => {
      const codes = this.codes.narrow(0, start, count);
      const values = this.#map.indexSelect(0, codes.to({ dtype: "int64" }));
      return values.mul(this.#scales(start, count));
    });
  }

  /** Takes float32 [count] in at `start`, to the nearest values. */
  write(start: number, values: Tensor): void {
    scope(() => {
      const { device } = values;
      const count = values.numel;
      const whole = Math.ceil(count / BLOCK) * BLOCK;
      const padded = zeros([whole], { device });
      padded.narrow(0, 0, count).copy_(values);
      const largest = padded.abs().reshape([-1, BLOCK]).amax([1]);
      this.largest.narrow(0, start / BLOCK, largest.numel).copy_(largest);
      const relative = values.div(this.#scales(start, count).clamp(SMALLEST_FLOAT));
      const codes = bucketize(relative, this.#middles, { outInt32: true });
      this.codes.narrow(0, start, count).copy_(codes);
    });
  }

  /** The largest of its block for each number. */
  #scales(start: number, count: number): Tensor {
    const blocks = this.largest.narrow(0, start / BLOCK, Math.ceil(count / BLOCK));
    return blocks.repeatInterleave(BLOCK).narrow(0, 0, count);
  }

  dispose(): void {
    for (const each of [this.codes, this.largest, this.#map, this.#middles]) each.dispose();
  }
}
