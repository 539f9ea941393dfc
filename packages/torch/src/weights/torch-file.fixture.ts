// Writes small files as torch.save does, for tests: the pickle of a dict of tensors, the zip container, the form before it.

import { zipOf } from "./zip-writer.js";

/** A view of a storage; numbers in elements. */
export interface View {
  storage: string;
  shape: readonly number[];
  strides: readonly number[];
  offset: number;
  parameter?: boolean;
}

export interface Storages {
  readonly [key: string]: { type: string; bytes: Uint8Array; count: number };
}

const ascii = (text: string): number[] => [...Buffer.from(text, "latin1")];

const u32 = (n: number): number[] => [n & 255, (n >> 8) & 255, (n >> 16) & 255, (n >>> 24) & 255];

/** Opcodes of protocol 2. */
export const opcodes = {
  proto: [0x80, 2],
  stop: ascii("."),
  mark: ascii("("),
  tuple: ascii("t"),
  emptyTuple: ascii(")"),
  dict: ascii("}"),
  setItems: ascii("u"),
  reduce: ascii("R"),
  persistent: ascii("Q"),
  no: [0x89],
  yes: [0x88],
  text: (value: string): number[] => {
    const bytes = [...Buffer.from(value)];
    return [...ascii("X"), ...u32(bytes.length), ...bytes];
  },
  int: (value: number): number[] => [...ascii("J"), ...u32(value)],
  global: (module: string, name: string): number[] => ascii(`c${module}\n${name}\n`),
};

const {
  proto,
  stop,
  mark,
  tuple,
  emptyTuple,
  dict,
  setItems,
  reduce,
  persistent,
  no,
  yes,
  text,
  int,
  global,
} = opcodes;

/** Opcodes that push a tensor. */
export function tensorOpcodes(view: View, storages: Storages, legacy = false): number[] {
  const { type, count } = storages[view.storage] as Storages[string];
  const tensor = [
    ...global("torch._utils", "_rebuild_tensor_v2"),
    ...mark,
    ...[
      ...mark,
      ...text("storage"),
      ...global("torch", type),
      ...text(view.storage),
      ...text("cpu"),
      ...int(count),
    ],
    ...(legacy ? ascii("N") : []),
    ...tuple,
    ...persistent,
    ...int(view.offset),
    ...[...mark, ...view.shape.flatMap(int), ...tuple],
    ...[...mark, ...view.strides.flatMap(int), ...tuple],
    ...no,
    ...[...global("collections", "OrderedDict"), ...emptyTuple, ...reduce],
    ...tuple,
    ...reduce,
  ];
  if (!view.parameter) return tensor;
  return [
    ...[...global("torch._utils", "_rebuild_parameter"), ...mark, ...tensor, ...yes],
    ...[...global("collections", "OrderedDict"), ...emptyTuple, ...reduce],
    ...[...tuple, ...reduce],
  ];
}

/** The pickle of a dict; its values are opcodes. */
export const pickleDict = (items: Readonly<Record<string, readonly number[]>>): Uint8Array =>
  Uint8Array.from([
    ...[...proto, ...dict, ...mark],
    ...Object.entries(items).flatMap(([name, value]) => [...text(name), ...value]),
    ...[...setItems, ...stop],
  ]);

/** The container since torch 1.6, each entry aligned to 64 bytes. */
export function zipFile(pickle: Uint8Array, storages: Storages, root = "archive"): Uint8Array {
  const entries: [string, Uint8Array][] = [
    [`${root}/data.pkl`, pickle],
    [`${root}/byteorder`, Buffer.from("little")],
    ...Object.entries(storages).map(([key, { bytes }]): [string, Uint8Array] => [
      `${root}/data/${key}`,
      bytes,
    ]),
  ];
  return zipOf(entries);
}

/** The form before torch 1.6. */
export function legacyFile(pickle: Uint8Array, storages: Storages): Uint8Array {
  const magic = [...proto, 0x8a, 10, ...ascii("l\xfc\x9cF\xf9 j\xa8P\x19"), ...stop];
  const version = [...proto, ...int(1001), ...stop];
  const platform = pickleDict({ little_endian: yes });
  const keys = Object.keys(storages).sort();
  const list = [...proto, ...ascii("]"), ...mark, ...keys.flatMap(text), ...ascii("e"), ...stop];
  const data = keys.flatMap((key) => {
    const { bytes, count } = storages[key] as Storages[string];
    const size = Buffer.alloc(8);
    size.writeBigInt64LE(BigInt(count));
    return [size, bytes];
  });
  return Buffer.concat([Buffer.from([...magic, ...version]), platform, pickle, Buffer.from(list), ...data]);
}
