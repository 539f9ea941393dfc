import { Generator } from "@spo/torch";

/**
 * A generator that depends on nothing but its arguments, so that any step can be drawn again without the ones before it: a run that is
 * killed and resumed needs no reader or generator state to be bit-exact.
 */
export function generatorAt(seed: number, ...path: readonly (number | string)[]): Generator {
  return new Generator(seedAt(seed, ...path));
}

/** The seed of `generatorAt`: 53 bits, by FNV-1a over the path and a final mix. */
export function seedAt(seed: number, ...path: readonly (number | string)[]): number {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode([seed, ...path].join("/"))) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  }
  hash = BigInt.asUintN(64, (hash ^ (hash >> 31n)) * 0xbf58476d1ce4e5b9n);
  return Number((hash ^ (hash >> 29n)) & 0x1fffffffffffffn);
}
