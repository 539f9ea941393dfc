import { markAsUntransferable } from "node:worker_threads";
import { native } from "@spo/native";
import { checkOptions, kindOf } from "./arguments.js";
import { throughEngine } from "./checkpoint.js";
import { type Device, type DType, dtypeCode, dtypeName, elementSize } from "./dtype.js";
import { handleIfAny, handleOf, setTensorConstructor, wrap } from "./handle.js";
import { _toCopy, TensorMethods } from "./ops.gen.js";
import { adopt, disown, type Scope, type Unowned } from "./scope.js";
import { type NestedValues, nestedValues, tensorText } from "./tensor-text.js";

/** The typed arrays that tensors are made from and read into. */
export type TypedArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | Uint8Array
  | Uint8ClampedArray
  | Uint16Array
  | BigInt64Array;

/** Elements that `toJSON` takes at most; more belong into a file. */
const MOST_IN_JSON = 1_000_000;

/**
 * A handle on a libtorch tensor.
 *
 * Operators are methods, by their aten names in camelCase; positional arguments stay positional, keyword-only ones come in a trailing
 * object. Freeing a handle drops one reference: what autograd saved lives on in the graph. Any use after that throws.
 */
export class Tensor extends TensorMethods {
  /** @internal */
  handle: number;
  /** @internal The scope that frees this tensor. */
  owner: Scope | undefined = undefined;
  /** @internal What the garbage collector is told, while no scope owns the tensor. */
  unowned: Unowned | undefined = undefined;

  /** @internal Tensors come from operators, `tensor(…)` and files. */
  constructor(handle: number) {
    super();
    this.handle = handle;
    adopt(this);
  }

  get shape(): readonly number[] {
    return native.sizes(this.handle);
  }

  get strides(): readonly number[] {
    return native.strides(this.handle);
  }

  get ndim(): number {
    return this.shape.length;
  }

  get numel(): number {
    return this.shape.reduce((a, b) => a * b, 1);
  }

  get nbytes(): number {
    return this.numel * elementSize(this.dtype);
  }

  get dtype(): DType {
    return dtypeName(native.dtype(this.handle));
  }

  get device(): Device {
    return native.device(this.handle);
  }

  get isDisposed(): boolean {
    return this.handle === 0;
  }

  get isLeaf(): boolean {
    return native.isLeaf(this.handle);
  }

  get requiresGrad(): boolean {
    return native.requiresGrad(this.handle);
  }

  /** Only a leaf's can be set. */
  set requiresGrad(on: boolean) {
    native.setRequiresGrad(this.handle, on);
  }

  /** What `backward` has added up, as a new handle in the current scope. */
  get grad(): Tensor | undefined {
    const handle = native.gradOf(this.handle);
    return handle === null ? undefined : wrap(handle);
  }

  set grad(gradient: Tensor | undefined) {
    native.setGrad(this.handle, handleIfAny(gradient, "grad", "gradient") ?? null);
  }

  /** Adds d(this)/d(leaf) to each leaf's `grad`. Without `gradient` this must have one element. */
  backward(gradient?: Tensor, { retainGraph = false } = {}): void {
    throughEngine(() =>
      native.backward(
        [this.handle],
        gradient === undefined ? null : [handleOf(gradient, "backward", "gradient")],
        retainGraph,
        false,
      ),
    );
  }

  /** The same numbers in another dtype or on another device; differentiable. Gives a second handle when nothing changes. */
  to(options: { dtype?: DType; device?: Device }): Tensor {
    checkOptions("to", options);
    const { dtype, device } = options;
    if ((dtype === undefined || dtype === this.dtype) && (device === undefined || device === this.device)) {
      return wrap(native.alias(this.handle));
    }
    return _toCopy(this, { dtype, device });
  }

  /** The value of a tensor of one element. Waits for the device. */
  item(): number {
    return native.item(this.handle);
  }

  /**
   * A copy of the elements in row-major order, from any device. Half-precision numbers come as float32, booleans as bytes, int64 as
   * bigint.
   */
  toTypedArray(): TypedArray {
    const dtype = this.dtype;
    if (dtype === "float16" || dtype === "bfloat16" || this.device !== "cpu") {
      const plain = this.detach().to({
        device: "cpu",
        dtype: dtype === "float16" || dtype === "bfloat16" ? "float32" : dtype,
      });
      const array = plain.toTypedArray();
      plain.dispose();
      return array;
    }
    return arrayOver(dtype, native.copyOut(this.handle));
  }

  /** A copy of the elements as numbers, in row-major order. int64 beyond 2^53 is rounded. */
  toNumbers(): number[] {
    return Array.from(this.toTypedArray() as ArrayLike<number | bigint>, Number);
  }

  /** An array over the tensor's own memory: contiguous and on the CPU only. Writing to it writes to the tensor. */
  view32(): Float32Array {
    if (this.dtype !== "float32") throw new TypeError(`view32 needs float32, this is ${this.dtype}`);
    return new Float32Array(native.view(this.handle));
  }

  /** Makes this handle mean `source`'s tensor. Layers keep their Tensor objects while weights are loaded into them. */
  assign(source: Tensor): this {
    native.replace(this.handle, handleOf(source, "assign", "source"));
    return this;
  }

  dispose(): void {
    if (this.handle === 0) return;
    disown(this);
    native.releaseOne(this.handle);
    this.handle = 0;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Shape, dtype, device and values, of large tensors the first and last ones: for people. */
  override toString(): string {
    return tensorText(this);
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return tensorText(this);
  }

  /**
   * What `JSON.stringify` writes: shape, dtype, and the values in nested lists, null on the device meta. Values that JSON has no number for
   * are text: `"NaN"`, `"-Infinity"`, an int64 beyond 2^53.
   *
   * Throws when it was disposed of, and for more than a million elements, which belong into a file: `writeSafetensors`.
   */
  toJSON(): { shape: readonly number[]; dtype: string; values: NestedValues | null } {
    const { shape, numel, dtype, device } = this;
    if (numel > MOST_IN_JSON)
      throw new RangeError(
        `a tensor of ${numel} elements is too large for JSON: write it with writeSafetensors, or what you want of it with toNumbers`,
      );
    return { shape, dtype, values: device === "meta" ? null : forJson(nestedValues(this)) };
  }
}

/** JSON would write null for what is not finite, and throws for a bigint. */
function forJson(value: NestedValues): NestedValues {
  if (Array.isArray(value)) return value.map(forJson);
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
}

setTensorConstructor(Tensor);

type Nested = number | boolean | readonly Nested[];

/** Element type, place and shape of a new tensor. */
export interface TensorOptions {
  dtype?: DType;
  device?: Device;
  /** For flat data. Default: the shape of nested arrays, or [length]. */
  shape?: readonly number[];
}

/**
 * A tensor with a copy of the data: a number, nested arrays of equal lengths, or a typed array.
 *
 * Default dtype: float32 for numbers (integers too), the array's own for typed arrays. Throws for ragged arrays and wrong shapes.
 */
export function tensor(data: Nested | TypedArray, options: TensorOptions = {}): Tensor {
  checkOptions("tensor", options);
  const { dtype, device, shape } = options;
  if (ArrayBuffer.isView(data))
    return place(wrap(native.fromBuffer(data, dtypeCode(dtypeOf(data)), shape ?? [data.length], true)));
  const found: number[] = [];
  const flat: number[] = [];
  const walk = (value: Nested, depth: number): void => {
    if (!Array.isArray(value)) {
      if (typeof value !== "number" && typeof value !== "boolean")
        throw new TypeError(
          `tensor: the data must be numbers, in lists or a typed array, not ${kindOf(value)}`,
        );
      if (depth !== found.length) throw new TypeError("nested arrays of different depths");
      flat.push(Number(value));
      return;
    }
    if (found.length === depth && flat.length === 0) found.push(value.length);
    if (found[depth] !== value.length) throw new TypeError("nested arrays of different lengths");
    for (const element of value) walk(element, depth + 1);
  };
  walk(data, 0);
  // By way of float64 for the other dtypes: float32 would round integers above 2^24.
  const array =
    dtype === "int64"
      ? BigInt64Array.from(flat, BigInt)
      : dtype === undefined || dtype === "float32"
        ? Float32Array.from(flat)
        : Float64Array.from(flat);
  return place(wrap(native.fromBuffer(array, dtypeCode(dtypeOf(array)), shape ?? found, true)));

  function place(made: Tensor): Tensor {
    if ((dtype === undefined || dtype === made.dtype) && device === undefined) return made;
    // First the dtype: not every device has float64.
    const converted = made.to({ dtype });
    made.dispose();
    if (device === undefined) return converted;
    const placed = converted.to({ device });
    converted.dispose();
    return placed;
  }
}

/**
 * A tensor over the array's own memory, without a copy: each sees what the other writes. The array lives as long as the tensor.
 *
 * Its buffer can no longer be transferred to another thread, which would take the memory away from the tensor. Throws for a buffer that
 * can be resized.
 */
export function tensorOver(array: TypedArray, shape: readonly number[] = [array.length]): Tensor {
  const buffer: ArrayBufferLike & { resizable?: boolean } = array.buffer;
  if (buffer.resizable)
    throw new TypeError("tensorOver needs a buffer of fixed length; copy it with tensor(…)");
  markAsUntransferable(buffer);
  return wrap(native.fromBuffer(array, dtypeCode(dtypeOf(array)), shape, false));
}

function dtypeOf(array: TypedArray): DType {
  if (array instanceof Float32Array) return "float32";
  if (array instanceof Float64Array) return "float64";
  if (array instanceof Int8Array) return "int8";
  if (array instanceof Int16Array) return "int16";
  if (array instanceof Int32Array) return "int32";
  if (array instanceof BigInt64Array) return "int64";
  if (array instanceof Uint8Array || array instanceof Uint8ClampedArray) return "uint8";
  throw new TypeError(`no dtype for ${(array as object).constructor.name}`);
}

function arrayOver(dtype: DType, buffer: ArrayBuffer): TypedArray {
  switch (dtype) {
    case "float32":
      return new Float32Array(buffer);
    case "float64":
      return new Float64Array(buffer);
    case "int8":
      return new Int8Array(buffer);
    case "int16":
      return new Int16Array(buffer);
    case "int32":
      return new Int32Array(buffer);
    case "int64":
      return new BigInt64Array(buffer);
    case "uint8":
    case "bool":
      return new Uint8Array(buffer);
    case "float16":
    case "bfloat16":
      return new Uint16Array(buffer);
  }
}
