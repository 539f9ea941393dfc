/**
 * A seed that depends on nothing but its arguments: 53 bits, by FNV-1a over the path and a final mix.
 *
 * What is drawn from it can be drawn again without what came before, so that a run needs no reader or generator state to go on bit for bit.
 */
export function seedAt(seed: number, ...path: readonly (number | string)[]): number {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode([seed, ...path].join("/"))) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  }
  hash = BigInt.asUintN(64, (hash ^ (hash >> 31n)) * 0xbf58476d1ce4e5b9n);
  return Number((hash ^ (hash >> 29n)) & 0x1fffffffffffffn);
}
