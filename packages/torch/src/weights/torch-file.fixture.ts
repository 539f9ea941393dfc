// Writes small files as torch.save does, for tests: the pickle of a dict of tensors, the zip container, the form before it.

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
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let at = 0;
  const put = (bytes: Uint8Array): void => {
    parts.push(bytes);
    at += bytes.length;
  };
  for (const [name, contents] of entries) {
    const encoded = Buffer.from(name);
    const padding = (64 - ((at + 30 + encoded.length) % 64)) % 64;
    const header = Buffer.alloc(30);
    header.writeUInt32LE(0x04034b50, 0);
    header.writeUInt32LE(contents.length, 18);
    header.writeUInt32LE(contents.length, 22);
    header.writeUInt16LE(encoded.length, 26);
    header.writeUInt16LE(padding, 28);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt32LE(contents.length, 20);
    central.writeUInt32LE(contents.length, 24);
    central.writeUInt16LE(encoded.length, 28);
    central.writeUInt32LE(at, 42);
    directory.push(central, encoded);
    for (const part of [header, encoded, new Uint8Array(padding), contents]) put(part);
  }
  const start = at;
  for (const part of directory) put(part);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(at - start, 12);
  end.writeUInt32LE(start, 16);
  put(end);
  return Buffer.concat(parts);
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
