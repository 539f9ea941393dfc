// @ts-check
// Calls the engine with arguments that run JavaScript while they are read: `node --expose-gc engine-hostile.mjs SEED CALLS LOG`. What runs
// takes away memory that the call was given, frees its handles, calls the engine again or throws. All memory that a call may read holds
// sevens, all that comes to lie in its place holds nines: a result of anything but sevens was read from memory that was gone.
// LOG holds the call that was under way.
import { mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MessageChannel } from "node:worker_threads";
import { native } from "./index.js";

const [seed = 1, calls = 5000] = process.argv.slice(2, 4).map(Number);
const log = openSync(process.argv[4] ?? "/dev/null", "w");
const FLOAT32 = 6;

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
const shuffled = (/** @type {(() => void)[]} */ acts) => acts.toSorted(() => random() - 0.5);

const ops = /** @type {Record<string, number>} */ ({});
/** @param {string} name @param {unknown[]} args */
function run(name, ...args) {
  const [base = "", overload = ""] = name.split(".");
  ops[name] ??= native.op(`aten::${base}`, overload);
  return /** @type {number} */ (native.call(ops[name], ...args));
}

const folder = mkdtempSync(join(tmpdir(), "engine-hostile-"));
const file = join(folder, "sevens");
writeFileSync(file, new Float32Array(1 << 14).fill(7));

/** Tensors and files of the call at work. @type {number[]} */
let handles = [];
/** @type {number[]} */
let mappings = [];
/** Takes an array's memory away. @type {(() => void)[]} */
let takers = [];
/** What lies in the place of memory that was freed. @type {unknown[]} */
let nines = [];
/** Undoes what was done to Array.prototype. */
let restore = () => {};
/** How deep strikes go: a strike's own calls may be hostile too. */
let depth = 0;

/** A taker that newer engines have. @param {ArrayBufferLike} buffer @param {string} name @param {number} size */
const callOn = (buffer, name, size) =>
  /** @type {Record<string, (size: number) => void>} */ (/** @type {unknown} */ (buffer))[name]?.(size);

/** A memory of WebAssembly, whose buffer it takes away when it grows. @returns {{ buffer: ArrayBuffer, grow(pages: number): void }} */
function newMemory() {
  const { WebAssembly } = /** @type {any} */ (globalThis);
  return new WebAssembly.Memory({ initial: 1, maximum: 2 });
}

/** An array of so many sevens, over a buffer of any kind. @param {number} count */
function sevens(count) {
  const bytes = 4 * count;
  /** @type {new (size: number, options?: { maxByteLength: number }) => ArrayBuffer} */
  const Resizable = ArrayBuffer;
  /** @type {new (size: number, options?: { maxByteLength: number }) => SharedArrayBuffer} */
  const Growable = SharedArrayBuffer;
  /** @type {(() => [ArrayBufferLike, Float32Array])[]} */
  const kinds = [
    () => {
      const array = new Float32Array(count);
      return [array.buffer, array];
    },
    () => {
      const buffer = new ArrayBuffer(bytes + 16);
      return [buffer, new Float32Array(buffer, 16, count)];
    },
    () => {
      const buffer = new Resizable(bytes + 8, { maxByteLength: 4 * bytes + 64 });
      return [buffer, new Float32Array(buffer, 8, count)];
    },
    () => {
      const buffer = new Resizable(bytes, { maxByteLength: 4 * bytes + 64 });
      return [buffer, new Float32Array(buffer)];
    },
    () => {
      const buffer = new Growable(bytes, { maxByteLength: 4 * bytes + 64 });
      return [buffer, new Float32Array(/** @type {ArrayBuffer} */ (/** @type {unknown} */ (buffer)))];
    },
    () => {
      if (!chance(0.05)) return [new ArrayBuffer(bytes), new Float32Array(0)]; // a memory reserves much
      const memory = newMemory();
      takers.push(() => memory.grow(1));
      return [memory.buffer, new Float32Array(memory.buffer, 0, Math.min(count, 1 << 14))];
    },
  ];
  const [buffer, array] = pick(kinds)();
  array.fill(7);
  takers.push(
    ...shuffled([
      () => structuredClone(buffer, { transfer: [/** @type {ArrayBuffer} */ (buffer)] }),
      () => {
        const { port1, port2 } = new MessageChannel();
        port1.postMessage(buffer, [/** @type {ArrayBuffer} */ (buffer)]);
        port2.close();
      },
      () => callOn(buffer, "transfer", 0),
      () => callOn(buffer, "transferToFixedLength", bytes),
      () => callOn(buffer, "resize", pick([0, 4, bytes - 4, bytes + 8, 4 * bytes])),
      () => callOn(buffer, "grow", 2 * bytes),
    ]),
  );
  return array;
}

/** A tensor of sevens, over an array of JavaScript or with memory of its own. @param {number[]} shape */
function tensor(shape) {
  const count = shape.reduce((a, b) => a * b, 1);
  const array = sevens(count);
  const handle =
    array.length === count && chance(0.6)
      ? native.fromBuffer(array, FLOAT32, shape, chance(0.4))
      : run("full", shape, 7, FLOAT32);
  handles.push(handle);
  return handle;
}

const ignoring = (/** @type {() => void} */ act) => {
  try {
    act();
  } catch {
    // Many acts are impossible: a second transfer, a handle that is gone.
  }
};

/** Memory of a tensor's without its handle, whose number may be one that the call was given. @param {number} size */
function bufferOfNines(size) {
  const handle = run("full", [size], 9, FLOAT32);
  const buffer = native.view(handle);
  native.releaseOne(handle);
  return buffer;
}

/** Does harm to the call at work. */
function strike() {
  if (depth > 1) return;
  depth++;
  try {
    for (const act of shuffled(takers).slice(0, 3)) ignoring(act);
    for (let n = below(3); n > 0; n--) ignoring(pick(harm));
    if (chance(0.15)) globalThis.gc?.();
    const size = pick([8, 64, 1024, 1 << 14]);
    nines = Array.from({ length: 6 }, () => new Float32Array(size).fill(9));
    for (let i = 0; i < 4; i++) ignoring(() => nines.push(bufferOfNines(size)));
    if (chance(0.1)) throw new RangeError("from the argument");
  } finally {
    depth--;
  }
}

const freed = (/** @type {unknown[]} */ values) => {
  for (const each of values) if (typeof each === "number") ignoring(() => native.releaseOne(each));
};

/** Frees handles and gives their numbers to other sevens: a number that is read again is nobody's fault. @param {number[]} values */
function replaced(values) {
  freed(values);
  for (const _ of [...values]) handles.push(run("full", [2], 7, FLOAT32));
}

/** @type {(() => void)[]} */
const harm = [
  () => replaced(handles),
  () => replaced([pick(handles)]),
  () => native.replace(pick(handles), native.alias(pick(handles))),
  () => run("resize_", pick(handles), [2]),
  () => run("resize_", pick(handles), [2 ** 45]),
  () =>
    run(
      "add.out",
      run("full", [1 << 15], 7, FLOAT32),
      run("zeros", [1], FLOAT32),
      1,
      native.alias(pick(handles)),
    ),
  () => run("set_.source_Tensor", pick(handles), run("full", [9], 7, FLOAT32)),
  () => run("set_data", pick(handles), run("full", [9], 7, FLOAT32)),
  () => native.unmap(pick(mappings)),
  () => native.trimMemory(),
  () => native.op("aten::cosh", ""),
  () => native.setGradMode(true),
  () => native.view(pick(handles)),
  () => native.backward([pick(handles)], null, chance(0.5), chance(0.1)),
  () => void pick(scenes)(),
];

/** A list like this one, whose reading strikes. @template T @param {T[]} list @returns {T[]} */
function hostile(list) {
  if (chance(0.1)) return list;
  const i = below(list.length);
  const value = /** @type {T} */ (list[i]);
  const get = () => {
    strike();
    return chance(0.9) ? value : /** @type {T} */ (pick([-1, 999, "x", null, undefined, {}]));
  };
  const holed = () => {
    const copy = [...list];
    delete copy[i];
    return copy;
  };
  return pick([
    () => Object.defineProperty([...list], i, { get }),
    () => Object.defineProperty([...list], i, { get }), // the likeliest
    () => Object.setPrototypeOf(holed(), Object.create(Array.prototype, { [i]: { get } })),
    () =>
      Object.setPrototypeOf(
        holed(),
        new Proxy([], { get: (target, key) => (key === String(i) ? get() : Reflect.get(target, key)) }),
      ),
    () => new Proxy(list, { get: (target, key) => (key === String(i) ? get() : Reflect.get(target, key)) }),
    () =>
      Object.defineProperty([...list], i, {
        get() {
          this.length = pick([0, 1, 2000]);
          return get();
        },
      }),
    () => ({
      length: list.length,
      *[Symbol.iterator]() {
        strike();
        yield* list;
      },
    }),
  ])();
}

/** A plain argument, or an object that would strike if it were converted. @template T @param {T} value @returns {T} */
function plain(value) {
  if (!chance(0.05)) return value;
  const convert = () => {
    strike();
    return value;
  };
  const key = pick(["valueOf", "toString", Symbol.toPrimitive]);
  const object = chance(0.2) ? Object.defineProperty({}, "handle", { get: convert }) : { [key]: convert };
  return /** @type {T} */ (object);
}

/** A function that strikes when it has done its work. @template R @param {() => R} work */
const striking = (work) => () => {
  if (chance(0.3)) strike();
  const result = work();
  if (chance(0.5)) strike();
  return result;
};

/** Has the results' arrays strike as they are filled. */
function trapResults() {
  const key = pick(["0", "1"]);
  Object.defineProperty(Array.prototype, key, {
    configurable: true,
    set(value) {
      Object.defineProperty(this, key, { value, writable: true, enumerable: true, configurable: true });
      restore();
      strike();
    },
  });
  restore = () => {
    delete (/** @type {Record<string, unknown>} */ (/** @type {unknown} */ (Array.prototype))[key]);
    restore = () => {};
  };
}

const size = () => pick([2, 16, 512, 1 << 12]);

/** Each makes a call and gives what it must be: a tensor or a buffer of sevens, or nothing. @type {(() => unknown)[]} */
const scenes = [
  () => native.fromBuffer(sevens(2 * size()), FLOAT32, hostile([2, size()]), plain(chance(0.7))),
  () => {
    const n = size();
    return native.fromBuffer(plain(sevens(2 * n)), plain(FLOAT32), hostile([2, n]), chance(0.7));
  },
  () => {
    const n = size();
    return run("reshape", tensor([2, n]), hostile([n, 2]));
  },
  () => run("expand", tensor([1, size()]), hostile([3, -1])),
  () => run("repeat", tensor([size()]), hostile([2, 1])),
  () => run("flip", plain(tensor([2, size()])), hostile([0, 1])),
  () => run("roll", tensor([2, size()]), hostile([1, 1]), hostile([0, 1])),
  () => run("cat", hostile([tensor([2, 8]), tensor([1, 8]), tensor([3, 8])]), plain(0)),
  () => run("stack", hostile([tensor([size()]), tensor([size()])])),
  () => run("amax", tensor([4, size()]), hostile([0, 1])),
  () => run("amin", tensor([4, size()]), hostile([0])),
  () => run("constant_pad_nd", tensor([2, size()]), hostile([1, 1]), plain(7)),
  () => run("full", hostile([size(), 2]), 7, FLOAT32),
  () => run("index.Tensor", tensor([4, size()]), hostile([run("zeros", [3], 4)])),
  () => run("add.Tensor", tensor([size()]), plain(run("zeros", [1], FLOAT32))),
  () => {
    const [mapping] = native.map(file);
    mappings.push(mapping);
    return native.fromMapping(mapping, plain(pick([0, 4, 4096])), FLOAT32, hostile([2, size()]));
  },
  () => {
    const numbers = Uint32Array.from([1, 2].map(() => tensor([2])));
    takers.push(() => structuredClone(numbers.buffer, { transfer: [numbers.buffer] }));
    native.release(numbers, plain(2));
  },
  // The tensor lies in the graph: its memory is read by backward.
  () => {
    const n = size();
    const leaf = run("full", [n], 1, FLOAT32);
    handles.push(leaf);
    native.setRequiresGrad(leaf, true);
    const product = run("mul.Tensor", leaf, tensor([n]));
    handles.push(product);
    const ones = run("full", [n], 1, FLOAT32);
    if (chance(0.3))
      return native.grad(hostile([product]), hostile([leaf]), hostile([ones]), false, false)[0];
    native.backward(hostile([product]), chance(0.8) ? hostile([ones]) : [ones], plain(false), chance(0.1));
    return native.gradOf(leaf);
  },
  () => {
    const n = size();
    const leaf = run("full", [n], 1, FLOAT32);
    native.setRequiresGrad(leaf, true);
    const given = tensor([n]);
    const ones = run("full", [n], 1, FLOAT32);
    handles.push(leaf);
    let product = 0;
    const work = () => {
      product = run("mul.Tensor", run("mul.Tensor", leaf, given), ones);
    };
    native.checkpoint(
      hostile([leaf, given]),
      striking(() => {
        work();
        return chance(0.9);
      }),
      striking(work),
    );
    handles.push(product);
    native.backward([product], [ones], false, chance(0.2));
    return native.gradOf(leaf);
  },
  () => {
    const generator = native.generator(plain(1), "cpu");
    const state = native.copyOut(native.generatorState(generator));
    const array = new Uint8Array(state);
    takers.push(() => structuredClone(state, { transfer: [state] }));
    const given = native.fromBuffer(array, 0, hostile([array.length]), false);
    if (chance(0.5)) strike();
    native.setGeneratorState(generator, given);
    native.releaseGenerator(generator);
  },
  () => {
    const shape = [2, size()];
    const read = chance(0.5) ? native.sizes : native.strides;
    const given = tensor(shape);
    trapResults();
    const numbers = read(given);
    restore();
    if (numbers.length !== 2) throw new TypeError("no shape");
  },
  () => {
    const parts = () =>
      /** @type {number[]} */ (/** @type {unknown} */ (run("chunk", tensor([4, size()]), 2)));
    if (chance(0.5)) trapResults();
    return parts()[0];
  },
  // What is read after the strike.
  () => {
    const given = tensor([size()]);
    if (chance(0.5)) strike();
    return native.copyOut(given);
  },
  () => {
    const given = tensor([1]);
    if (chance(0.5)) strike();
    if (native.item(given) !== 7) throw new Error("item read foreign memory");
  },
  () => {
    const given = tensor([size()]);
    const buffer = native.view(given);
    const again = native.view(run("view", given, [-1]));
    const copy = chance(0.3) ? run("_lazy_clone", given) : 0;
    const held = native.alias(given); // no strike knows it
    strike();
    for (const act of [() => run("resize_", held, [1 << 15]), () => run("set_", held)]) {
      try {
        act();
        throw new Error("memory that is shared was replaced: FOREIGN");
      } catch (error) {
        if (/FOREIGN/.test(String(error))) throw error;
      }
    }
    if (copy) run("mul_.Scalar", held, 1);
    native.releaseOne(held);
    if (copy) native.releaseOne(copy);
    if (chance(0.5)) nines.push(bufferOfNines(size()));
    return chance(0.5) ? buffer : again;
  },
];

/** What no call may give. @param {unknown} result */
function check(result) {
  const values = result instanceof ArrayBuffer ? new Float32Array(result) : undefined;
  const read =
    values ?? (typeof result === "number" ? new Float32Array(native.copyOut(result)) : new Float32Array(0));
  const foreign = read.find((value) => value !== 7);
  if (foreign !== undefined) throw new Error(`FOREIGN ${foreign} of ${read.length}`);
  return read.length > 0;
}

let [threw, checked, foreign] = [0, 0, 0];
for (let i = 0; i < calls; i++) {
  state = (Math.imul(seed, 0x9e3779b1) + Math.imul(i, 0x85ebca6b)) | 0;
  const scene = below(scenes.length);
  writeSync(log, `${i} scene ${scene}\n`.padEnd(40), 0);
  /** @type {unknown} */
  let result;
  try {
    result = scenes[scene]?.();
    restore();
    if (check(result)) checked++;
  } catch (error) {
    restore();
    threw++;
    if (!(error instanceof Error)) throw new Error(`scene ${scene} threw no Error: ${String(error)}`);
    if (error.message === "") throw new Error(`scene ${scene} threw without a message`);
    if (/FOREIGN|foreign/.test(error.message)) {
      foreign++;
      console.error(`call ${i}, scene ${scene}: ${error.message}`);
    }
  }
  freed([...handles, ...nines, ...(typeof result === "number" ? [result] : [])]);
  for (const mapping of mappings) ignoring(() => native.unmap(mapping));
  [handles, mappings, takers, nines] = [[], [], [], []];
}
native.setGradMode(true);
rmSync(folder, { recursive: true });
if (!check(run("add.Scalar", run("full", [4], 3, FLOAT32), 4)))
  throw new Error("the engine does not add any more");
console.log(JSON.stringify({ calls, threw, checked, foreign }));
process.exitCode = foreign === 0 ? 0 : 1;
