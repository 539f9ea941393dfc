// Everything that a case draws, as a function of its kind's name and its number.
import { createHash } from "node:crypto";

/** Random numbers that the name and the number alone decide. Generator: sfc32 (Doty-Humphrey), seeded from SHA-256. */
export class Draws {
  readonly #state: Uint32Array;

  constructor(kind: string, index: number) {
    const digest = createHash("sha256").update(`${kind}/${index}`).digest();
    this.#state = Uint32Array.from([0, 4, 8, 12], (at) => digest.readUInt32LE(at));
  }

  /** From 0 to below 1. */
  next(): number {
    const [a, b, c, d] = this.#state as unknown as [number, number, number, number];
    const sum = (a + b + d) >>> 0;
    this.#state.set([b ^ (b >>> 9), c + (c << 3), ((c << 21) | (c >>> 11)) + sum, d + 1]);
    return sum / 2 ** 32;
  }

  /** A whole number from 0 to below n. */
  below(n: number): number {
    return Math.floor(this.next() * n);
  }

  /** A whole number from 1 to `most`, small ones more often. */
  few(most: number): number {
    return 1 + Math.floor(most * this.next() ** 3);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }

  chance(share: number): boolean {
    return this.next() < share;
  }
}
