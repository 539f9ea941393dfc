// What the pickles of torch.save are made of: storages, tensors, and the globals that make them.
import { type DType, elementSize } from "./dtype.js";
import { UserError } from "./files.js";
import { PickleObject, type PickleValue } from "./pickle.js";

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

export class StoredTensor extends PickleObject {
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
export class TorchHost {
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

/** The tensors of a dict, or of its `state_dict`. Plain values beside them are no weights. */
export function tensorsOf(value: PickleValue, path: string): Map<string, StoredTensor> {
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

const isCount = (value: PickleValue | undefined): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0;

const isCounts = (value: PickleValue | undefined): value is readonly number[] =>
  Array.isArray(value) && value.every(isCount);
