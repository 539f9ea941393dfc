// The objects in pickles of torch.save: storages, tensors, and the globals that make them.
import { type DType, elementSize } from "../dtype.js";
import { UserError } from "../errors.js";
import { FLOAT8_TYPES, type Float8, isFloat8 } from "./float8.js";
import { PickleObject, type PickleValue } from "./pickle.js";
import { isPassedOver } from "./pickle-globals.js";

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

/** What a tensor's elements may be in a file. */
export type StoredType = DType | Float8;

/** Bytes of one element. */
export const widthOf = (type: StoredType): number => (isFloat8(type) ? 1 : elementSize(type));

export class StoredTensor extends PickleObject {
  readonly storage: Storage;
  readonly dtype: StoredType;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  constructor(
    storage: Storage,
    dtype: StoredType,
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
  readonly dtype: StoredType;
  constructor(dtype: StoredType) {
    super();
    this.dtype = dtype;
  }
}

/** An opaque object: an array of numpy, a callback, a setting. Calling it, or its class, gives another one; its contents are dropped. */
class Opaque extends PickleObject {
  /** Its class, for messages. */
  readonly what: string;
  constructor(what: string) {
    super();
    this.what = what;
  }
  override call(): PickleValue {
    return this;
  }
  override readonly dropsContents = true;
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
const DTYPES: readonly StoredType[] = [...Object.values(STORAGE_TYPES), ...FLOAT8_TYPES];

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
      ["torch._tensor._rebuild_from_type_v2", new Callable(([make, , args]) => this.#made(make, args))],
      ["torch.nn.parameter.Parameter", new Callable(([data]) => this.#tensor(data))],
      ["collections.OrderedDict", new Callable(([pairs]) => this.#dict(pairs))],
      ["collections.defaultdict", new Callable(([, pairs]) => this.#dict(pairs))],
      ["collections.Counter", new Callable(([pairs]) => this.#dict(pairs))],
      ["builtins.set", new Callable(([values]) => Object.freeze([...this.#array(values ?? [])]))],
      ["__builtin__.set", new Callable(([values]) => Object.freeze([...this.#array(values ?? [])]))],
      ["torch.storage.UntypedStorage", new StorageType("uint8")],
    ]);
    for (const dtype of DTYPES) known.set(`torch.${dtype}`, new DTypeObject(dtype));
    for (const [name, dtype] of Object.entries(STORAGE_TYPES)) {
      known.set(`torch.${name}`, new StorageType(dtype));
      known.set(`torch.cuda.${name}`, new StorageType(dtype)); // saved on a GPU by an old version
    }
    this.#known = known;
  }

  global(module: string, name: string): PickleValue {
    const path = `${module}.${name}`;
    const found = this.#known.get(path) ?? (isPassedOver(path) ? new Opaque(path) : undefined);
    if (found === undefined) {
      throw new UserError(
        `${this.#path} asks for ${JSON.stringify(path)}, which weights do not need. It was not read, and nothing in it was run.`,
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

  #made(make: PickleValue | undefined, args: PickleValue | undefined): PickleValue {
    return make instanceof PickleObject && make.call
      ? make.call(this.#array(args))
      : this.bad("a tensor of a class of its own is not described as torch.save does it");
  }

  #dict(pairs: PickleValue | undefined): Map<PickleValue, PickleValue> {
    const dict = new Map<PickleValue, PickleValue>(pairs instanceof Map ? pairs : undefined);
    if (pairs instanceof Map) return dict;
    for (const pair of this.#array(pairs ?? [])) {
      const [key, value] = this.#array(pair);
      dict.set(key as PickleValue, value as PickleValue);
    }
    return dict;
  }
}

/** Names under which trainers save the weights, the commonest first. */
const STATE_DICTS = ["state_dict", "model", "module", "model_state_dict", "params"];

/**
 * The tensors of a dict, or of the dict under the first of `STATE_DICTS` that it has. Plain values beside them are no weights.
 *
 * Throws a UserError (`DATA`) where there are none, and for an entry of a dotted name that is another object: a weight that is no tensor.
 */
export function tensorsOf(value: PickleValue, path: string): Map<string, StoredTensor> {
  const dict = stateDict(value);
  const tensors = new Map<string, StoredTensor>();
  if (dict instanceof Map) {
    for (const [name, entry] of dict) {
      if (typeof name !== "string") continue;
      if (entry instanceof StoredTensor) tensors.set(name, entry);
      else if (entry instanceof Opaque && name.includes(".") && dict !== value)
        throw new UserError(`${path}: the weight ${name} is an object of ${entry.what}, not a tensor.`, {
          code: "DATA",
          hint: "Ask for the weights as safetensors.",
        });
    }
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

/** Three levels at most: a trainer's record, its state dict, and one that wraps that. */
function stateDict(value: PickleValue, depth = 3): PickleValue {
  if (!(value instanceof Map) || depth === 0) return value;
  const inner = STATE_DICTS.map((name) => value.get(name)).find((entry) => entry instanceof Map);
  return inner === undefined ? value : stateDict(inner, depth - 1);
}

const isCount = (value: PickleValue | undefined): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0;

const isCounts = (value: PickleValue | undefined): value is readonly number[] =>
  Array.isArray(value) && value.every(isCount);
