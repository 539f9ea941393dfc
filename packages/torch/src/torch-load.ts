// Weights that torch.save wrote (.bin, .ckpt, .pt, .pth), read without unpickling: see pickle.ts.
import { type DType, elementSize } from "./dtype.js";
import { UserError } from "./files.js";
import { MappedFile } from "./mapped-file.js";
import { PickleObject, type PickleValue, readPickle } from "./pickle.js";
import { keep } from "./scope.js";
import type { Tensor } from "./tensor.js";
import { readZipDirectory } from "./zip.js";

const MAX_PICKLE = 32 << 20;
/** How much more the tensors of a file may claim than it holds: views that repeat elements (stride 0) cost nothing to write. */
const MAX_REPEATED = 256 << 20;

/** A file of torch.save: its tensors by name, over the file's own memory. */
export class TorchFile {
  readonly path: string;
  /** What the file holds besides tensors is of no use here: torch.save has no place for metadata. */
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
    return { dtype, shape };
  }

  /** The tensor over the file's memory, with the strides that it was saved with; tensors that shared a storage share it again. */
  get(name: string): Tensor {
    const { storage, dtype, shape, strides, offset } = this.#stored(name);
    const key = `${storage.key} ${dtype}`;
    let whole = this.#storages.get(key);
    if (!whole) {
      const place = this.#places.get(storage.key) as StoragePlace;
      const count = Math.floor(storage.nbytes / elementSize(dtype));
      whole = keep(this.#file.tensor(place.offset, dtype, [count]));
      this.#storages.set(key, whole);
    }
    return whole.asStrided(shape, strides, offset);
  }

  tensors(): Map<string, Tensor> {
    return new Map(this.keys().map((name) => [name, this.get(name)]));
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
/** It, as a pickle of protocol 2 and up; from 4 on in a frame that says its length. */
const LEGACY = new RegExp(`^\\x80[\\x02-\\x05](\\x95[^]{8})?${MAGIC}`);
const latin1 = (bytes: Uint8Array, length: number): string =>
  Buffer.from(bytes.subarray(0, length)).toString("latin1");

/**
 * Opens a file of torch.save. Its tensors are those of the dict that it holds, or of that dict's `state_dict`.
 *
 * Nothing in the file is run: a global that is not known to make tensors, dicts or numbers is refused by name. Throws a UserError (`DATA`).
 */
export function openTorchFile(path: string): TorchFile {
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
    const { value, places } = isZip(start) ? readZip(file, bad) : readLegacy(file, bad);
    const tensors = tensorsOf(value, path);
    checkBounds(tensors, places, file.size, bad);
    return new TorchFile(file, tensors, places);
  } catch (error) {
    file.close();
    throw error;
  }
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

/** The class of a storage, which gives the dtype. */
class StorageType extends PickleObject {
  readonly dtype: DType;
  constructor(dtype: DType) {
    super();
    this.dtype = dtype;
  }
}

class Storage extends PickleObject {
  readonly key: string;
  readonly dtype: DType;
  readonly nbytes: number;
  constructor(key: string, dtype: DType, nbytes: number) {
    super();
    this.key = key;
    this.dtype = dtype;
    this.nbytes = nbytes;
  }
  get elementSize(): number {
    return elementSize(this.dtype);
  }
}

class StoredTensor extends PickleObject {
  readonly storage: Storage;
  readonly dtype: DType;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  constructor(
    storage: Storage,
    dtype: DType,
    { offset, shape, strides }: { offset: number; shape: readonly number[]; strides: readonly number[] },
  ) {
    super();
    this.storage = storage;
    this.dtype = dtype;
    this.offset = offset;
    this.shape = shape;
    this.strides = strides;
  }
}

class DTypeObject extends PickleObject {
  readonly dtype: DType;
  constructor(dtype: DType) {
    super();
    this.dtype = dtype;
  }
}

/** Something that checkpoints carry beside weights and that nothing here looks into. */
class Inert extends PickleObject {
  override call(): PickleValue {
    return this;
  }
}

class Callable extends PickleObject {
  override readonly call: (args: readonly PickleValue[]) => PickleValue;
  constructor(call: (args: readonly PickleValue[]) => PickleValue) {
    super();
    this.call = call;
  }
}

const STORAGE_TYPES: Readonly<Record<string, DType>> = {
  DoubleStorage: "float64",
  FloatStorage: "float32",
  HalfStorage: "float16",
  BFloat16Storage: "bfloat16",
  LongStorage: "int64",
  IntStorage: "int32",
  ShortStorage: "int16",
  CharStorage: "int8",
  ByteStorage: "uint8",
  BoolStorage: "bool",
};
const DTYPES: readonly DType[] = [...Object.values(STORAGE_TYPES)];

/** What published checkpoints have beside weights: counters as numpy scalars, and the names of callbacks. */
const INERT = new Set([
  "numpy.core.multiarray.scalar",
  "numpy._core.multiarray.scalar",
  "numpy.dtype",
  "_codecs.encode",
  "torch.device",
  "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
]);

/** The meaning of the globals and storages of torch.save. */
class TorchHost {
  readonly storages = new Map<string, Storage>();
  readonly bad: (why: string) => never;
  readonly #path: string;
  readonly #known: ReadonlyMap<string, PickleValue>;

  constructor(path: string, bad: (why: string) => never) {
    this.#path = path;
    this.bad = bad;
    const known = new Map<string, PickleValue>([
      ["torch._utils._rebuild_tensor", new Callable((args) => this.#rebuild(args))],
      ["torch._utils._rebuild_tensor_v2", new Callable((args) => this.#rebuild(args))],
      ["torch._utils._rebuild_tensor_v3", new Callable((args) => this.#rebuild(args, args[6]))],
      ["torch._utils._rebuild_parameter", new Callable(([data]) => this.#tensor(data))],
      ["torch._utils._rebuild_parameter_with_state", new Callable(([data]) => this.#tensor(data))],
      ["torch.Size", new Callable(([sizes]) => Object.freeze([...this.#array(sizes)]))],
      ["collections.OrderedDict", new Callable(([pairs]) => this.#dict(pairs))],
      ["builtins.set", new Callable(([values]) => Object.freeze([...this.#array(values ?? [])]))],
      ["__builtin__.set", new Callable(([values]) => Object.freeze([...this.#array(values ?? [])]))],
      ["torch.storage.UntypedStorage", new StorageType("uint8")],
    ]);
    for (const dtype of DTYPES) known.set(`torch.${dtype}`, new DTypeObject(dtype));
    for (const [name, dtype] of Object.entries(STORAGE_TYPES)) {
      known.set(`torch.${name}`, new StorageType(dtype));
      known.set(`torch.cuda.${name}`, new StorageType(dtype)); // saved on a GPU by an old version
    }
    for (const name of INERT) known.set(name, new Inert());
    this.#known = known;
  }

  global(module: string, name: string): PickleValue {
    const found = this.#known.get(`${module}.${name}`);
    if (found === undefined) {
      throw new UserError(
        `${this.#path} asks for ${JSON.stringify(`${module}.${name}`)}, which weights do not need. It was not read, and nothing in it was run.`,
        {
          code: "DATA",
          hint: "A pickle may hold code. Do not open this file with another program unless you trust its source; ask for the weights as safetensors.",
        },
      );
    }
    return found;
  }

  persistent(id: PickleValue): PickleValue {
    const [kind, type, key, , count, view] = this.#array(id);
    if (kind !== "storage" || !(type instanceof StorageType) || typeof key !== "string" || !isCount(count))
      return this.bad("a storage is not described as torch.save does it");
    if (view !== undefined && view !== null)
      return this.bad("it has views of storages, which only torch 0.1 wrote");
    const storage = new Storage(key, type.dtype, count * elementSize(type.dtype));
    const before = this.storages.get(key);
    if (before && before.nbytes !== storage.nbytes)
      return this.bad(`storage ${key} is described in two ways`);
    this.storages.set(key, storage);
    return storage;
  }

  #rebuild(args: readonly PickleValue[], dtype?: PickleValue): StoredTensor {
    const [storage, offset, shape, strides] = args;
    if (!(storage instanceof Storage) || !isCount(offset) || !isCounts(shape) || !isCounts(strides))
      return this.bad("a tensor is not described as torch.save does it");
    if (shape.length !== strides.length || shape.length > 64)
      return this.bad(`a tensor has ${shape.length} sizes and ${strides.length} strides`);
    return new StoredTensor(storage, dtype instanceof DTypeObject ? dtype.dtype : storage.dtype, {
      offset,
      shape,
      strides,
    });
  }

  #tensor(value: PickleValue | undefined): StoredTensor {
    return value instanceof StoredTensor ? value : this.bad("a parameter has no tensor");
  }

  #array(value: PickleValue | undefined): readonly PickleValue[] {
    return Array.isArray(value) ? value : this.bad("its pickle is damaged");
  }

  #dict(pairs: PickleValue | undefined): Map<PickleValue, PickleValue> {
    const dict = new Map<PickleValue, PickleValue>();
    for (const pair of this.#array(pairs ?? [])) {
      const [key, value] = this.#array(pair);
      dict.set(key as PickleValue, value as PickleValue);
    }
    return dict;
  }
}

const isCount = (value: PickleValue | undefined): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0;

const isCounts = (value: PickleValue | undefined): value is readonly number[] =>
  Array.isArray(value) && value.every(isCount);

/** The tensors of a dict, or of its `state_dict`. Plain values beside them are no weights. */
function tensorsOf(value: PickleValue, path: string): Map<string, StoredTensor> {
  const inner = value instanceof Map ? value.get("state_dict") : undefined;
  const dict = inner instanceof Map ? inner : value;
  const tensors = new Map<string, StoredTensor>();
  if (dict instanceof Map) {
    for (const [name, entry] of dict)
      if (typeof name === "string" && entry instanceof StoredTensor) tensors.set(name, entry);
  }
  if (tensors.size === 0) {
    const names =
      dict instanceof Map ? [...dict.keys()].filter((key) => typeof key === "string").slice(0, 10) : [];
    throw new UserError(
      `${path} has no tensors by name: neither itself nor its state_dict is a dict of them${names.length > 0 ? ` (it has ${names.join(", ")})` : ""}.`,
      { code: "DATA", hint: "Save the model's state_dict() alone, best as safetensors." },
    );
  }
  return tensors;
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
    const count = Math.floor(storage.nbytes / elementSize(dtype));
    const numel = shape.reduce((a, b) => a * b, 1);
    const last = shape.reduce((sum, size, i) => sum + (size - 1) * (strides[i] as number), offset);
    if (numel === 0 ? offset > count : !(last < count))
      bad(`${name} needs ${numel === 0 ? offset : last + 1} elements, its storage has ${count}`);
    // A shape with a 0 may have sizes beyond what the engine takes.
    if (shape.some((size) => size > 2 ** 40) || strides.some((stride) => stride > 2 ** 50))
      bad(`${name} is too large`);
    claimed += numel * elementSize(dtype);
  }
  if (!(claimed <= fileSize + MAX_REPEATED))
    bad(`its tensors claim ${claimed} bytes, the file has ${fileSize}`);
}
