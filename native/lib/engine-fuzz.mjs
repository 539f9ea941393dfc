// @ts-check
// Calls the engine at random: `node engine-fuzz.mjs SEED CALLS LOG`. Every call must give a value or throw an Error, and the process must
// survive it; LOG holds the call that was under way, for the case that it does not. engine.test.mjs runs it under a memory limit, so that
// huge shapes are refused instead of filling the machine.
import { openSync, readFileSync, writeSync } from "node:fs";
import { native } from "./index.js";

const [seed = 1, calls = 5000] = process.argv.slice(2, 4).map(Number);
const log = openSync(process.argv[4] ?? "/dev/null", "w");

// The operators that packages/torch offers; libtorch has some 3,000 more, and among those that are not meant to be called by hand a few
// trust their arguments.
const offered = readFileSync(new URL("../../packages/torch/src/ops.gen.ts", import.meta.url), "utf8");
const ours = [
  ["", "spo::group_norm", ""],
  ["", "spo::doubled_conv2d", ""],
];
const names = [...ours, ...offered.matchAll(/native\.op\("(aten::\w+)", "(\w*)"\)/g)];
const schemas = new Map(native.schemas().map((schema) => [schema.slice(0, schema.indexOf("(")), schema]));
const operators = names.map(([, name = "", overload = ""]) => {
  const key = overload ? `${name}.${overload}` : name;
  const schema = schemas.get(key) ?? "";
  const inside = schema.slice(schema.indexOf("(") + 1, schema.lastIndexOf(" -> ") - 1);
  return { key, index: native.op(name, overload), types: splitTypes(inside) };
});

/** Types of the arguments in a schema. @param {string} text */
function splitTypes(text) {
  return text
    .replaceAll(/\([a-z! |*>-]*\)/g, "")
    .replaceAll(/=\[[^\]]*\]/g, "")
    .split(", ")
    .filter((each) => each !== "*" && each !== "")
    .map((each) => each.split(" ")[0] ?? "");
}

let state = seed >>> 0;
/** Mulberry32: uniform in [0, 1). */
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}
const below = (/** @type {number} */ n) => Math.floor(random() * n);
/** @template T @param {readonly T[]} values @returns {T} */
const pick = (values) => /** @type {T} */ (values[below(values.length)]);
const chance = (/** @type {number} */ p) => random() < p;

// What a caller may hold: a few tensors of every kind, and handles of none.
const dtypes = [0, 1, 2, 3, 4, 5, 6, 7, 11, 15];
const op = native.op;
const zeros = op("aten::zeros", "");
const shapes = [[], [0], [1], [3], [2, 3], [4, 4], [2, 4, 3], [1, 4, 5, 5], [2, 4, 8, 8], [3, 0, 2]];
/** @type {number[]} */
const tensors = [];
for (const shape of shapes) {
  for (const dtype of dtypes) tensors.push(/** @type {number} */ (native.call(zeros, shape, dtype)));
  const count = shape.reduce((a, b) => a * b, 1);
  const numbers = Float32Array.from({ length: count }, (_, i) => Math.sin(i * 7) * 3);
  for (let i = 0; i < 4; i++) tensors.push(native.fromBuffer(numbers, 6, shape, i % 2 === 0));
  const learned = native.fromBuffer(numbers, 6, shape, true);
  native.setRequiresGrad(learned, true);
  tensors.push(learned);
  tensors.push(/** @type {number} */ (native.call(zeros, shape, 6, null, "meta")));
}
tensors.push(native.fromBuffer(BigInt64Array.of(0n, 1n, 2n, 3n), 4, [4], true));
tensors.push(native.fromBuffer(BigInt64Array.of(-1n, 99n, 2n ** 62n, -(2n ** 63n)), 4, [4], true));
tensors.push(native.fromBuffer(Float32Array.of(NaN, Infinity, -Infinity, 1e38), 6, [4], true));
tensors.push(/** @type {number} */ (native.call(op("aten::expand", ""), tensors[13], [7, 3])));
const disposed = native.alias(/** @type {number} */ (tensors[0]));
native.releaseOne(disposed);

const detached = new Float32Array(4);
structuredClone(detached.buffer, { transfer: [detached.buffer] });
const integers = [
  0,
  1,
  2,
  3,
  4,
  5,
  7,
  8,
  -1,
  -2,
  -3,
  -9,
  64,
  1000,
  2 ** 31 - 1,
  2 ** 31,
  -(2 ** 31),
  2 ** 32,
  2 ** 40,
  2 ** 53,
  -(2 ** 53),
  2 ** 62,
];
const numbers = [
  0,
  -0,
  0.5,
  1,
  1e-8,
  -2.5,
  1e30,
  1e308,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
];

/** @type {(() => unknown)[]} */
const anything = [
  () => undefined,
  () => null,
  () => chance(0.5),
  () => pick(integers),
  () => pick(numbers),
  () => pick(["", "cpu", "cuda:0", "meta", "none", "x".repeat(70000), "\0", "é\ud800"]),
  () => BigInt(pick([0, 1, -1, 2 ** 31])) * pick([1n, 2n ** 40n, 2n ** 70n]),
  () => Symbol("s"),
  () => ({ length: 3, 0: 1 }),
  () => () => 1,
  () => new Date(0),
  () => Array.from({ length: below(5) }, () => pick(anything)()),
  () => new Array(pick([3, 2 ** 20, 2 ** 32 - 1])),
  () => new Proxy([1, 2], { get: (target, key) => (key === "1" ? 2 ** 31 : Reflect.get(target, key)) }),
  () =>
    Object.defineProperty([1, 2], 1, {
      get: () => {
        throw new RangeError("from a getter");
      },
    }),
  () =>
    Object.defineProperty([1, 2], 1, {
      get: () => {
        native.op("aten::cosh", "");
        native.releaseOne(native.alias(tensor()));
        return 2;
      },
    }),
  () => detached,
  () => typedArray(),
  () => new ArrayBuffer(8),
  () => new DataView(new ArrayBuffer(8)),
  () => tensor(),
];

const tensor = () =>
  chance(0.03) ? pick([0, disposed, 2 ** 32 - 1, 1e9, -1, 0.5, Number.NaN]) : pick(tensors);
const dimensions = () =>
  Array.from({ length: below(5) }, () => (chance(0.85) ? below(6) - 1 : pick(integers)));

function typedArray() {
  const Type = pick([
    Float32Array,
    Float64Array,
    Int8Array,
    Uint8Array,
    Uint8ClampedArray,
    Int16Array,
    Uint16Array,
    Int32Array,
    Uint32Array,
    BigInt64Array,
    BigUint64Array,
  ]);
  const length = below(9);
  const bytes = length * Type.BYTES_PER_ELEMENT;
  return pick([
    () => new Type(length),
    () => new Type(new ArrayBuffer(bytes + 8), 8, length),
    () => new Type(/** @type {ArrayBuffer} */ (/** @type {unknown} */ (new SharedArrayBuffer(bytes)))),
    () => detached,
  ])();
}

/** A value for an argument, mostly of its type. @param {string} type @returns {unknown} */
function argument(type) {
  if (chance(0.04)) return pick(anything)();
  if (type.endsWith("?")) return chance(0.4) ? pick([null, undefined]) : argument(type.slice(0, -1));
  if (/^Tensor\??\[/.test(type)) return Array.from({ length: below(4) }, tensor);
  if (/^(Sym)?[Ii]nt\[/.test(type)) return chance(0.2) ? pick(integers) : dimensions();
  if (/^(float|Scalar)\[/.test(type)) return Array.from({ length: below(4) }, () => pick(numbers));
  if (/^bool\[/.test(type)) return Array.from({ length: below(4) }, () => chance(0.5));
  switch (type) {
    case "Tensor":
      return tensor();
    case "ScalarType":
      return chance(0.8) ? pick(dtypes) : pick(integers);
    case "SymInt":
    case "int":
      return chance(0.7) ? below(5) - 1 : pick(integers);
    case "float":
    case "Scalar":
      return chance(0.5) ? pick(numbers) : pick(integers);
    case "bool":
      return chance(0.5);
    case "Device":
      return pick(["cpu", "cpu", "meta", "cuda", "nonsense", "cpu:7"]);
    case "Generator":
      return chance(0.7) ? generator : pick([0, 999, Number.NaN]);
    case "str":
      return pick(["none", "mean", "linear", "ij,jk->ik", "i,i->", "->", "zzz", "tanh", ""]);
    case "Layout":
    case "MemoryFormat":
      return chance(0.6) ? undefined : pick(integers);
    default:
      return pick(anything)();
  }
}
const generator = native.generator(1, "cpu");

// Sums of squares, some of them made in checkpoints.
const learned = native.fromBuffer(Float32Array.of(1, 2, 3), 6, [3], true);
native.setRequiresGrad(learned, true);
const [mul, sum] = [op("aten::mul", "Tensor"), op("aten::sum", "")];
const squares = () =>
  /** @type {number} */ (native.call(sum, native.call(mul, learned, native.call(mul, learned, learned))));
const sums = [squares()];

/** @type {[name: string, weight: number, args: () => unknown[]][]} */
const functions = [
  ["op", 1, () => [pick(["aten::add", "aten::nothing", "", "x".repeat(9999)]), pick(["Tensor", "", "none"])]],
  [
    "release",
    2,
    () => [chance(0.8) ? Uint32Array.of(0, disposed, 2 ** 32 - 1) : pick(anything)(), pick(integers)],
  ],
  ["releaseOne", 1, () => [pick([0, disposed, -1, Number.NaN, 2 ** 32, 0.5])]],
  ["alias", 1, () => [tensor()]],
  ["replace", 1, () => [tensor(), tensor()]],
  ["sizes", 1, () => [tensor()]],
  ["strides", 1, () => [tensor()]],
  ["dtype", 1, () => [tensor()]],
  ["device", 1, () => [tensor()]],
  ["requiresGrad", 1, () => [tensor()]],
  ["isLeaf", 1, () => [tensor()]],
  ["setRequiresGrad", 2, () => [tensor(), chance(0.5)]],
  ["item", 2, () => [tensor()]],
  [
    "fromBuffer",
    8,
    () => [
      typedArray(),
      chance(0.7) ? pick(dtypes) : pick(integers),
      chance(0.4) ? dimensions() : [below(9)],
      chance(0.5),
    ],
  ],
  ["copyOut", 4, () => [tensor()]],
  ["view", 4, () => [tensor()]],
  [
    "map",
    1,
    () => [
      pick(["/proc/self/maps", "/dev/zero", "/", "/nowhere", "", "\0", new URL(import.meta.url).pathname]),
    ],
  ],
  ["unmap", 1, () => [pick([0, 1, 7, Number.NaN])]],
  [
    "fromMapping",
    4,
    () => [pick([mapping, mapping, 99]), pick([0, 1, 8, ...integers]), pick(dtypes), dimensions()],
  ],
  [
    "backward",
    4,
    () => [
      chance(0.3) ? [pick(sums)] : Array.from({ length: below(3) }, tensor),
      chance(0.5) ? null : Array.from({ length: below(3) }, () => (chance(0.2) ? null : tensor())),
      chance(0.5),
      chance(0.5),
    ],
  ],
  [
    "checkpoint",
    4,
    () => [
      chance(0.8) ? [tensor(), tensor()] : pick(anything)(),
      () => {
        if (chance(0.2)) throw pick([new Error("again"), "again", undefined]);
        if (chance(0.8)) squares();
        if (chance(0.2)) native.backward([/** @type {number} */ (pick(sums))], null, true, chance(0.5));
        return pick([true, false, undefined, 7]);
      },
      () => {
        if (chance(0.2)) throw new Error("first");
        if (sums.length < 200) sums.push(squares());
      },
    ],
  ],
  [
    "grad",
    4,
    () => [
      Array.from({ length: below(3) }, tensor),
      Array.from({ length: below(3) }, tensor),
      chance(0.7) ? null : [tensor()],
      chance(0.5),
      chance(0.5),
    ],
  ],
  ["gradOf", 2, () => [tensor()]],
  ["setGrad", 4, () => [tensor(), chance(0.2) ? null : tensor()]],
  ["setGradMode", 1, () => [chance(0.8)]],
  ["pushInferenceMode", 1, () => [chance(0.3)]],
  ["popInferenceMode", 2, () => []],
  [
    "setAutocast",
    1,
    () => [pick(["cpu", "cuda", "nonsense", "meta"]), chance(0.2), pick([15, 5, 6, ...integers])],
  ],
  [
    "generator",
    2,
    () => [pick([0, 1, -1, 2 ** 53, 5n, 2n ** 63n, 0.5]), pick(["cpu", "cuda", "meta", "mps", "nonsense"])],
  ],
  ["releaseGenerator", 1, () => [chance(0.3) ? native.generator(1, "cpu") : pick([0, 999, Number.NaN])]],
  ["generatorState", 1, () => [pick([generator, 0, 999])]],
  ["setGeneratorState", 2, () => [generator, tensor()]],
  ["threads", 1, () => [pick([undefined, 1, 0, -1, 2 ** 40])]],
  ["kernels", 1, () => [pick([undefined, "libtorch", "plain", "avx2", "avx512", "none", 3])]],
  ["loadLibrary", 1, () => [pick(["", "/nowhere.so", "/etc/passwd"])]],
  ["liveHandles", 1, () => []],
  ["trimMemory", 1, () => []],
  ["answerSignals", 1, () => ["words"]],
  ["facts", 1, () => []],
];
const mapping = native.map(new URL(import.meta.url).pathname)[0];
const weighted = functions.flatMap((each) => Array.from({ length: each[1] }, () => each));

/** @param {unknown} value @returns {string} */
function show(value) {
  if (typeof value === "string") return JSON.stringify(value.slice(0, 40));
  if (Array.isArray(value))
    return value.length > 9
      ? `[… ${value.length}]`
      : `[${Array.from({ length: value.length }, (_, i) => (Object.getOwnPropertyDescriptor(value, i)?.get ? "getter" : show(value[i])))}]`;
  if (ArrayBuffer.isView(value)) return `${value.constructor.name}(${value.byteLength})`;
  return typeof value === "bigint" ? `${value}n` : String(typeof value === "object" && value ? "{}" : value);
}

let threw = 0;
for (let i = 0; i < calls; i++) {
  state = (Math.imul(seed, 0x9e3779b1) + Math.imul(i, 0x85ebca6b)) | 0;
  /** @type {() => unknown} */
  let work;
  let text = "";
  if (chance(0.65)) {
    const { key, index, types } = pick(operators);
    const args = types.map(argument);
    if (chance(0.05)) args.splice(below(args.length + 1), chance(0.5) ? 1 : 0, pick(anything)());
    text = `${key}(${args.map(show).join(", ")})`;
    work = () => native.call(index, ...args);
  } else {
    const [name, , arguments_] = pick(weighted);
    const args = arguments_();
    if (chance(0.1)) args.splice(below(args.length + 1), 1, pick(anything)());
    if (chance(0.03)) args.length = below(args.length + 1);
    text = `native.${name}(${args.map(show).join(", ")})`;
    const call = /** @type {Record<string, (...args: unknown[]) => unknown>} */ (
      /** @type {unknown} */ (native)
    )[name];
    work = () => call?.(...args);
  }
  writeSync(log, `${i} ${text}\n`.padEnd(600).slice(0, 4000), 0);
  try {
    const result = work();
    // What comes back is looked at and let go: memory that is handed out must be readable.
    if (result instanceof ArrayBuffer) new Uint8Array(result).reduce((a, b) => a ^ b, 0);
    else
      for (const handle of Array.isArray(result) ? result : [result])
        if (Number.isInteger(handle) && text.startsWith("aten")) native.releaseOne(handle);
  } catch (error) {
    threw++;
    if (!(error instanceof Error)) throw new Error(`${text} threw no Error: ${String(error)}`);
    if (error.message === "") throw new Error(`${text} threw without a message`);
  }
}
for (;;) {
  try {
    native.popInferenceMode();
  } catch {
    break; // none is on any more
  }
}
native.setGradMode(true);
// It still computes.
const one = native.fromBuffer(Float32Array.of(1, 2), 6, [2], true);
const three = native.call(op("aten::add", "Tensor"), one, one);
if (new Float32Array(native.copyOut(/** @type {number} */ (three)))[1] !== 4)
  throw new Error("the engine does not add any more");
console.log(JSON.stringify({ calls, threw }));
