// Writes small records as Python's torch.save does.
import type { DType } from "../dtype.js";
import { writeFileAtomic } from "../files.js";
import { Tensor } from "../tensor.js";
import { bytesOf } from "./safetensors.js";
import { zipOf } from "./zip-writer.js";

/** A dict of tensors, numbers and further dicts. */
export interface TorchRecord {
  readonly [name: string]: Tensor | number | TorchRecord;
}

/** The classes of storages, which give a tensor's dtype. */
const STORAGES: Readonly<Partial<Record<DType, string>>> = {
  float64: "DoubleStorage",
  float32: "FloatStorage",
  float16: "HalfStorage",
  bfloat16: "BFloat16Storage",
  int64: "LongStorage",
  int32: "IntStorage",
  int16: "ShortStorage",
  int8: "CharStorage",
  uint8: "ByteStorage",
  bool: "BoolStorage",
};

/** Files that a plain zip directory can describe. */
const MOST_BYTES = 2 ** 32 - 1;

/**
 * Writes a file that torch.load reads, with `weights_only` too: the container since torch 1.6, a pickle of protocol 2. Whole or not at all.
 *
 * For small records beside weights in safetensors: all of it stands in memory, and it must stay below 4 GiB.
 */
export function writeTorchRecord(path: string, record: TorchRecord): void {
  const storages: Uint8Array[] = [];
  const pickle = pickleOf(record, storages);
  const text = (value: string): Uint8Array => Buffer.from(value);
  const entries: [name: string, contents: Uint8Array][] = [
    ["data.pkl", pickle],
    ["byteorder", text("little")],
    ...storages.map((bytes, key): [string, Uint8Array] => [`data/${key}`, bytes]),
    ["version", text("3\n")],
  ];
  const bytes = entries.reduce((sum, [, contents]) => sum + contents.length, 0);
  if (bytes > MOST_BYTES / 2) throw new RangeError(`writeTorchRecord: ${bytes} bytes are too many`);
  writeFileAtomic(path, zipOf(entries.map(([name, contents]) => [`archive/${name}`, contents])));
}

/** Opcodes: Python's pickletools. storages: filled with the bytes of each tensor. */
function pickleOf(record: TorchRecord, storages: Uint8Array[]): Uint8Array {
  const ascii = (text: string): Uint8Array => Buffer.from(text, "latin1");
  const word = (value: number): Uint8Array => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    return bytes;
  };
  const unicode = (text: string): Uint8Array[] => {
    const bytes = Buffer.from(text);
    return [ascii("X"), word(bytes.length), bytes];
  };
  // BININT has 31 bits; LONG1 of eight bytes has what a tensor's sizes need.
  const integer = (value: number): Uint8Array[] => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(value));
    return [ascii("\x8a\x08"), bytes];
  };
  const float = (value: number): Uint8Array[] => {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleBE(value);
    return [ascii("G"), bytes];
  };
  const tuple = (...items: Uint8Array[][]): Uint8Array[] => [ascii("("), ...items.flat(), ascii("t")];
  const global = (module: string, name: string): Uint8Array[] => [ascii(`c${module}\n${name}\n`)];

  const tensor = (x: Tensor): Uint8Array[] => {
    const type = STORAGES[x.dtype];
    if (!type) throw new RangeError(`writeTorchRecord: torch.save has no storage for ${x.dtype}`);
    const key = storages.push(bytesOf(x)) - 1;
    const strides = x.shape.map((_, i) => x.shape.slice(i + 1).reduce((a, b) => a * b, 1));
    const storage = tuple(
      unicode("storage"),
      global("torch", type),
      unicode(String(key)),
      unicode("cpu"),
      integer(x.numel),
    );
    return [
      ...global("torch._utils", "_rebuild_tensor_v2"),
      ...tuple(
        [...storage, ascii("Q")],
        integer(0),
        tuple(...x.shape.map(integer)),
        tuple(...strides.map(integer)),
        [ascii("\x89")], // requires_grad
        [...global("collections", "OrderedDict"), ascii(")R")],
      ),
      ascii("R"),
    ];
  };
  const dict = (entries: TorchRecord): Uint8Array[] => [
    ascii("}("),
    ...Object.entries(entries).flatMap(([name, value]) => [...unicode(name), ...item(value)]),
    ascii("u"),
  ];
  const item = (value: TorchRecord[string]): Uint8Array[] =>
    typeof value === "number" ? float(value) : value instanceof Tensor ? tensor(value) : dict(value);

  return Buffer.concat([ascii("\x80\x02"), ...dict(record), ascii(".")]);
}
