// Weights that torch.save wrote (.bin, .ckpt, .pt, .pth), read without unpickling: see pickle.ts.
import { type DType, elementSize } from "../dtype.js";
import { UserError } from "../errors.js";
import { keep, scope } from "../scope.js";
import type { Tensor } from "../tensor.js";
import { decodeFloat8, isFloat8 } from "./float8.js";
import { MappedFile } from "./mapped-file.js";
import { type PickleValue, readPickle } from "./pickle.js";
import { StoredTensor, TorchHost, tensorsOf, widthOf } from "./torch-objects.js";
import type { TorchRecord } from "./torch-save.js";
import { readZipDirectory } from "./zip.js";

const MAX_PICKLE = 32 << 20;
/** How much more the tensors of a file may claim than it holds: views that repeat elements (stride 0) cost nothing to write. */
const MAX_REPEATED = 256 << 20;

/** A file of torch.save: its tensors by name, over the file's own memory. */
export class TorchFile {
  readonly path: string;
  /** Empty: torch.save has no place for metadata. */
  readonly metadata: Readonly<Record<string, string>> = {};
  readonly #file: MappedFile;
  readonly #tensors: ReadonlyMap<string, StoredTensor>;
  readonly #places: ReadonlyMap<string, StoragePlace>;
  readonly #storages = new Map<string, Tensor>();

  /** @internal Use `openTorchFile`. */
  constructor(
    file: MappedFile,
    tensors: ReadonlyMap<string, StoredTensor>,
    places: ReadonlyMap<string, StoragePlace>,
  ) {
    this.path = file.path;
    this.#file = file;
    this.#tensors = tensors;
    this.#places = places;
  }

  keys(): string[] {
    return [...this.#tensors.keys()];
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  info(name: string): { dtype: DType; shape: readonly number[] } {
    const { dtype, shape } = this.#stored(name);
    return { dtype: isFloat8(dtype) ? "bfloat16" : dtype, shape };
  }

  /**
   * The tensor over the file's memory, with the strides that it was saved with; tensors that shared a storage share it again. An 8-bit
   * tensor is a copy in bfloat16.
   */
  get(name: string): Tensor {
    const { storage, dtype: saved, shape, strides, offset } = this.#stored(name);
    const dtype = isFloat8(saved) ? "uint8" : saved;
    const key = `${storage.key} ${dtype}`;
    let whole = this.#storages.get(key);
    if (!whole) {
      const place = this.#places.get(storage.key) as StoragePlace;
      const count = Math.floor(storage.nbytes / elementSize(dtype));
      whole = keep(this.#file.tensor(place.offset, dtype, [count]));
      this.#storages.set(key, whole);
    }
    const all = whole;
    return isFloat8(saved)
      ? scope(() => decodeFloat8(all.asStrided(shape, strides, offset), saved))
      : all.asStrided(shape, strides, offset);
  }

  tensors(): Map<string, Tensor> {
    return new Map(this.keys().map((name) => [name, this.get(name)]));
  }

  /** @internal The same file with `prefix` left out of every name; this object is not used any more. */
  withoutPrefix(prefix: string): TorchFile {
    const tensors = [...this.#tensors].map(([name, stored]) => [name.slice(prefix.length), stored] as const);
    return new TorchFile(this.#file, new Map(tensors), this.#places);
  }

  /** No more tensors can be taken; those that exist stay valid. */
  close(): void {
    for (const storage of this.#storages.values()) storage.dispose();
    this.#storages.clear();
    this.#file.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #stored(name: string): StoredTensor {
    const found = this.#tensors.get(name);
    if (!found) throw new UserError(`${this.path} has no tensor ${name}.`, { code: "DATA" });
    return found;
  }
}

/** Whether a file starts as torch.save's do, in the zip container or in the form before it. Extensions say nothing. */
export function isTorchFile(start: Uint8Array): boolean {
  return isZip(start) || isLegacy(start);
}

const isZip = (start: Uint8Array): boolean => latin1(start, 4) === "PK\x03\x04";
const isLegacy = (start: Uint8Array): boolean => LEGACY.test(latin1(start, 24));
/** The number that the old form starts with, as a pickle spells it. */
const MAGIC = "\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19";
/** The magic number as a pickle of protocol 2 and up; from 4 on in a frame that says its length. */
const LEGACY = new RegExp(`^\\x80[\\x02-\\x05](\\x95[^]{8})?${MAGIC}`);
const latin1 = (bytes: Uint8Array, length: number): string =>
  Buffer.from(bytes.subarray(0, length)).toString("latin1");

/**
 * Opens a file of torch.save. Its tensors are those of the dict that it holds, or of that dict's `state_dict` or `model`.
 *
 * Nothing in the file is run. Objects of training states are passed over; a function that is not known to make tensors, dicts or numbers is
 * refused by name. Throws a UserError (`DATA`), also for a weight that is no tensor.
 */
export const openTorchFile = (path: string): TorchFile =>
  opened(path, (file, { value, places }, bad) => {
    const tensors = tensorsOf(value, path);
    checkBounds(tensors, places, file.size, bad);
    return new TorchFile(file, tensors, places);
  });

/**
 * The dict in a file of torch.save with the dicts within it: tensors over the file's memory, and numbers. Other values are passed over.
 *
 * Throws as `openTorchFile`; also for what is no dict.
 */
export const readTorchRecord = (path: string): TorchRecord =>
  opened(path, (file, { value, places }, bad) => {
    const tensors = new Map<string, StoredTensor>();
    const keyed = keyedRecord(value, tensors, bad);
    checkBounds(tensors, places, file.size, bad);
    using found = new TorchFile(file, tensors, places);
    const filled = ({ entries }: KeyedRecord): TorchRecord =>
      Object.fromEntries(
        entries.map(([name, entry]) => [
          name,
          typeof entry === "number" ? entry : typeof entry === "string" ? found.get(entry) : filled(entry),
        ]),
      );
    return filled(keyed);
  });

/** Opens the file, and closes it where reading it fails. */
function opened<T>(
  path: string,
  read: (file: MappedFile, contents: Contents, bad: (why: string) => never) => T,
): T {
  const file = new MappedFile(path);
  const bad = (why: string): never => {
    throw new UserError(`${path}: not a whole file of torch.save: ${why}.`, {
      code: "DATA",
      hint: "Copy or download it again; if it is damaged at its source, ask for the weights as safetensors.",
    });
  };
  try {
    const start = file.bytes(0, Math.min(file.size, 24));
    if (!isTorchFile(start)) bad("it starts neither as a zip file nor as the older form");
    return read(file, isZip(start) ? readZip(file, bad) : readLegacy(file, bad), bad);
  } catch (error) {
    file.close();
    throw error;
  }
}

/** A dict whose tensors are named by keys of a table. */
interface KeyedRecord {
  entries: [name: string, entry: number | string | KeyedRecord][];
}

/** Entries of a record and all within it: one dict may stand in a pickle many times. */
const MOST_ENTRIES = 10_000;
const MOST_DEPTH = 8;

/** tensors: filled with each tensor under a key of its own. */
function keyedRecord(
  value: PickleValue,
  tensors: Map<string, StoredTensor>,
  bad: (why: string) => never,
): KeyedRecord {
  let count = 0;
  const keyed = (dict: Map<PickleValue, PickleValue>, depth: number): KeyedRecord => {
    if (depth > MOST_DEPTH) bad(`its dicts lie more than ${MOST_DEPTH} deep`); // one may hold itself
    const entries: KeyedRecord["entries"] = [];
    for (const [name, entry] of dict) {
      if (++count > MOST_ENTRIES) bad(`it has more than ${MOST_ENTRIES} entries`);
      if (typeof name !== "string") continue;
      if (typeof entry === "number") entries.push([name, entry]);
      else if (entry instanceof Map) entries.push([name, keyed(entry, depth + 1)]);
      else if (entry instanceof StoredTensor) {
        entries.push([name, String(tensors.size)]);
        tensors.set(String(tensors.size), entry);
      }
    }
    return { entries };
  };
  return value instanceof Map ? keyed(value, 1) : bad("it holds no dict");
}

/** All tensors of a file of torch.save, by name. They share the file's memory. */
export function readTorchFile(path: string): Map<string, Tensor> {
  using file = openTorchFile(path);
  return file.tensors();
}

interface Contents {
  value: PickleValue;
  places: Map<string, StoragePlace>;
}

/** Where a storage's bytes are. */
interface StoragePlace {
  offset: number;
  nbytes: number;
}

/** The container since torch 1.6: `NAME/data.pkl`, and each storage as `NAME/data/KEY`. */
function readZip(file: MappedFile, bad: (why: string) => never): Contents {
  const entries = readZipDirectory(file, bad);
  const pickles = [...entries.keys()].filter(
    (name) => name.endsWith("/data.pkl") && name.split("/").length === 2,
  );
  if (pickles.length !== 1) return bad(`it has ${pickles.length} entries NAME/data.pkl, not one`);
  const pickle = pickles[0] as string;
  const root = pickle.slice(0, -"data.pkl".length);
  const order = entries.get(`${root}byteorder`);
  if (order && latin1(file.bytes(order.offset, Math.min(order.size, 8)), 8) !== "little")
    bad("its bytes are not in little-endian order");
  const { offset, size } = entries.get(pickle) as { offset: number; size: number };
  if (size > MAX_PICKLE) bad(`its pickle has ${size} bytes`);
  const host = new TorchHost(file.path, bad);
  const { value } = readPickle(file.bytes(offset, size), host);
  const places = new Map<string, StoragePlace>();
  for (const [key, storage] of host.storages) {
    const entry = entries.get(`${root}data/${key}`);
    if (!entry) return bad(`storage ${key} is missing`);
    if (entry.size < storage.nbytes)
      bad(`storage ${key} has ${entry.size} bytes, its tensors expect ${storage.nbytes}`);
    places.set(key, { offset: entry.offset, nbytes: entry.size });
  }
  return { value, places };
}

/** Before torch 1.6: magic number, version, platform, contents and list of storages, each a pickle; then the storages themselves. */
function readLegacy(file: MappedFile, bad: (why: string) => never): Contents {
  const head = file.bytes(0, Math.min(file.size, MAX_PICKLE));
  const host = new TorchHost(file.path, bad);
  let at = 0;
  const next = (): PickleValue => {
    const { value, end } = readPickle(head, host, at);
    at = end;
    return value;
  };
  next(); // the magic number: known from the first bytes
  const version = next();
  if (version !== 1001) bad(`it has the version ${String(version)}; known is 1001`);
  const platform = next();
  if (!(platform instanceof Map) || platform.get("little_endian") !== true)
    bad("its bytes are not in little-endian order");
  const value = next();
  const order = next();
  if (!Array.isArray(order)) return bad("it has no list of storages");
  const places = new Map<string, StoragePlace>();
  for (const key of order as readonly PickleValue[]) {
    const storage = typeof key === "string" ? host.storages.get(key) : undefined;
    if (!storage) return bad("its list of storages names one that no tensor uses");
    if (at + 8 > file.size) bad("its storages are cut short");
    const bytes = file.bytes(at, 8);
    const count = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    const nbytes = count * storage.elementSize;
    if (!(at + 8 + nbytes <= file.size)) bad("its storages are cut short");
    places.set(storage.key, { offset: at + 8, nbytes });
    at += 8 + nbytes;
  }
  for (const [key, storage] of host.storages) {
    const place = places.get(key);
    if (!place) bad(`storage ${key} is missing`);
    else if (place.nbytes < storage.nbytes)
      bad(`storage ${key} has ${place.nbytes} bytes, its tensors expect ${storage.nbytes}`);
  }
  return { value, places };
}

/** Every element of every tensor lies in its storage, and views that repeat elements stay within a bound. */
function checkBounds(
  tensors: ReadonlyMap<string, StoredTensor>,
  places: ReadonlyMap<string, StoragePlace>,
  fileSize: number,
  bad: (why: string) => never,
): void {
  let claimed = 0;
  for (const [name, { storage, dtype, shape, strides, offset }] of tensors) {
    if (!places.has(storage.key)) bad(`storage ${storage.key} is missing`);
    const count = Math.floor(storage.nbytes / widthOf(dtype));
    const numel = shape.reduce((a, b) => a * b, 1);
    const last = shape.reduce((sum, size, i) => sum + (size - 1) * (strides[i] as number), offset);
    if (numel === 0 ? offset > count : !(last < count))
      bad(`${name} needs ${numel === 0 ? offset : last + 1} elements, its storage has ${count}`);
    // A shape with a 0 may have sizes beyond what the engine takes.
    if (shape.some((size) => size > 2 ** 40) || strides.some((stride) => stride > 2 ** 50))
      bad(`${name} is too large`);
    claimed += numel * widthOf(dtype);
  }
  if (!(claimed <= fileSize + MAX_REPEATED))
    bad(`its tensors claim ${claimed} bytes, the file has ${fileSize}`);
}
