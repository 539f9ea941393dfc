// Damage to bytes: what a disk, a cut download or an attacker makes of a file.
import type { Draws } from "./draws.js";

type Mutate = (bytes: Buffer, draws: Draws, words: readonly string[]) => Buffer;

/** Numbers at which readers go wrong: signs, powers of two, and around them. */
const BOUNDARIES = [
  ...[0n, 1n, 2n, 0x7fn, 0x80n, 0xffn, 0x7fffn, 0x8000n, 0xffffn],
  ...[0x7fffffffn, 0x80000000n, 0xffffffffn, 1n << 53n, (1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n],
];

/** Ends of a file hold its headers and its directory: half of all places are there. */
function place(length: number, draws: Draws): number {
  const near = Math.min(length, 96);
  const where = draws.next();
  if (where < 0.25) return draws.below(near);
  if (where < 0.5) return Math.max(0, length - 1 - draws.below(near));
  return draws.below(length);
}

function range(length: number, draws: Draws): [number, number] {
  const from = place(length, draws);
  return [from, Math.min(length, from + draws.few(Math.max(1, length / 4)))];
}

const joined = (...parts: Uint8Array[]): Buffer => Buffer.concat(parts);

const flipBits: Mutate = (bytes, draws) => {
  const changed = Buffer.from(bytes);
  for (let i = draws.few(8); i > 0; i--) {
    const at = place(bytes.length, draws);
    changed[at] = (changed[at] as number) ^ (1 << draws.below(8));
  }
  return changed;
};

const setByte: Mutate = (bytes, draws) => {
  const changed = Buffer.from(bytes);
  changed[place(bytes.length, draws)] = draws.pick([0, 1, 0x7f, 0x80, 0xff, draws.below(256)]);
  return changed;
};

const cut: Mutate = (bytes, draws) =>
  bytes.subarray(0, draws.chance(0.5) ? place(bytes.length, draws) : draws.below(bytes.length));

const removeRange: Mutate = (bytes, draws) => {
  const [from, to] = range(bytes.length, draws);
  return joined(bytes.subarray(0, from), bytes.subarray(to));
};

const repeatRange: Mutate = (bytes, draws) => {
  const [from, to] = range(bytes.length, draws);
  const times = Math.min(draws.few(200), Math.ceil(100_000 / (to - from)));
  return joined(
    bytes.subarray(0, to),
    ...Array.from({ length: times }, () => bytes.subarray(from, to)),
    bytes.subarray(to),
  );
};

const splice: Mutate = (bytes, draws) => {
  const [from, to] = range(bytes.length, draws);
  const at = place(bytes.length, draws);
  return joined(
    bytes.subarray(0, at),
    bytes.subarray(from, to),
    bytes.subarray(draws.chance(0.5) ? at : at + to - from),
  );
};

const zeroFill: Mutate = (bytes, draws) =>
  Buffer.from(bytes).fill(draws.pick([0, 0xff]), ...range(bytes.length, draws));

const number: Mutate = (bytes, draws) => {
  const changed = Buffer.from(bytes);
  const size = draws.pick([1, 2, 4, 8]);
  const value = BigInt.asUintN(8 * size, draws.pick(BOUNDARIES));
  const at = place(bytes.length, draws);
  const big = draws.chance(0.3);
  for (let i = 0; i < size && at + i < changed.length; i++)
    changed[at + i] = Number((value >> BigInt(8 * (big ? size - 1 - i : i))) & 0xffn);
  return changed;
};

const insertWord: Mutate = (bytes, draws, words) => {
  if (words.length === 0) return flipBits(bytes, draws, words);
  const word = Buffer.from(draws.pick(words), "latin1");
  const at = place(bytes.length, draws);
  return joined(bytes.subarray(0, at), word, bytes.subarray(draws.chance(0.5) ? at : at + word.length));
};

const append: Mutate = (bytes, draws) => joined(bytes, Buffer.alloc(draws.few(10_000), draws.below(256)));

const MUTATORS: readonly Mutate[] = [
  ...[flipBits, flipBits, setByte, cut, removeRange, repeatRange],
  ...[splice, zeroFill, number, number, insertWord, append],
];

/** One to three changes of a file's bytes. words: of its format, as Latin-1. */
export function mutateBytes(bytes: Uint8Array, draws: Draws, words: readonly string[] = []): Buffer {
  let changed = Buffer.from(bytes);
  for (let i = draws.few(3); i > 0 && changed.length > 0; i--)
    changed = Buffer.from(draws.pick(MUTATORS)(changed, draws, words));
  return changed;
}
