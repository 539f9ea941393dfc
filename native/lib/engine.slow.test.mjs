// @ts-check
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { afterAll, describe, expect, test } from "vitest";
import { native } from "./index.js";

const FLOAT32 = 6;
const folder = mkdtempSync(join(tmpdir(), "engine-"));
afterAll(() => rmSync(folder, { recursive: true }));

const engine = JSON.stringify(new URL("./index.js", import.meta.url).href);
const floats = (/** @type {number[]} */ ...values) =>
  native.fromBuffer(Float32Array.from(values), FLOAT32, [values.length], true);
const numbers = (/** @type {number} */ handle) => [...new Float32Array(native.copyOut(handle))];
const add = native.op("aten::add", "Tensor");

/** @param {string} code @param {string[]} args */
function node(code, ...args) {
  const file = join(folder, "program.mjs");
  writeFileSync(file, code);
  return spawnSync(process.execPath, ["--expose-gc", file, ...args], { encoding: "utf8", timeout: 300_000 });
}

// 2.5 GB of address space: what asks for more is refused, as on a machine that has no more.
test.each([1, 2])(
  "survives 5,000 random calls, seed %i, and still computes",
  (seed) => {
    const fuzz = fileURLToPath(new URL("./engine-fuzz.mjs", import.meta.url));
    const log = join(folder, `calls-${seed}`);
    const limited = 'ulimit -v 2500000; exec "$0" "$@"';
    const { status, signal, stdout, stderr } = spawnSync(
      "sh",
      ["-c", limited, process.execPath, fuzz, String(seed), "5000", log],
      // libtorch's half for CUDA alone would take more of it.
      { encoding: "utf8", timeout: 600_000, env: { ...process.env, SPO_CUDA: "0" } },
    );
    const last = readFileSync(log, "utf8").trim();
    expect({ status, signal }, `${last}\n${stderr}`).toEqual({ status: 0, signal: null });
    const { threw } = JSON.parse(stdout);
    expect(threw).toBeGreaterThan(1000); // most calls are wrong, and many are not
    expect(threw).toBeLessThan(4500);
  },
  250_000,
);

test("survives 5,000 calls whose arguments take away memory, free handles, call again and throw, and reads no foreign memory", () => {
  const hostile = fileURLToPath(new URL("./engine-hostile.mjs", import.meta.url));
  const log = join(folder, "hostile-calls");
  const { status, signal, stdout, stderr } = spawnSync(
    process.execPath,
    ["--expose-gc", hostile, "1", "5000", log],
    { encoding: "utf8", timeout: 600_000 },
  );
  expect({ status, signal }, `${readFileSync(log, "utf8").trim()}\n${stderr}`).toEqual({
    status: 0,
    signal: null,
  });
  const { threw, checked, foreign } = JSON.parse(stdout);
  expect(foreign).toBe(0);
  expect(checked).toBeGreaterThan(1000); // values were read back
  expect(threw).toBeGreaterThan(1000); // and many calls were refused
}, 250_000);

describe("an error", () => {
  test("of an operator carries its name and the types and shapes of its tensors", () => {
    expect(() => native.call(add, floats(1, 2), floats(1, 2, 3))).toThrow(
      /^aten::add\.Tensor\(Float \[2\], Float \[3\]\): The size of tensor a \(2\) must match/,
    );
  });

  test("of an argument carries its name", () => {
    expect(() => native.call(add, floats(1), "x")).toThrow(
      "aten::add.Tensor: argument 'other': expected a tensor, not a string",
    );
    const mean = native.op("aten::mean", "dim");
    expect(() => native.call(mean, floats(1), [0.5])).toThrow("argument 'dim': expected an integer, not 0.5");
    expect(() => native.call(mean, floats(1), [[]])).toThrow("expected an integer, not a list");
    expect(() => native.call(mean, floats(1), {})).toThrow("expected an array, not an object");
    expect(() => native.call(mean, floats(1), [0], "yes")).toThrow("expected a boolean, not a string");
    expect(() => native.call(native.op("aten::add", "Scalar"), floats(1), null)).toThrow(
      "expected a number, not null",
    );
    expect(() => native.call(add, floats(1))).toThrow("aten::add.Tensor: argument 'other' is missing");
    const zeros = native.op("aten::zeros", "");
    expect(() => native.call(zeros, [1], FLOAT32, null, "nonsense")).toThrow(
      /^aten::zeros: argument 'device': /,
    );
    expect(() => native.call(add, 1, 2, 3, 4, 5)).toThrow("aten::add.Tensor takes 3 arguments");
  });

  test.each([Number.NaN, -1, 0, 0.5, 2 ** 32, Number.POSITIVE_INFINITY])("meets the handle %d", (handle) => {
    expect(() => native.sizes(handle)).toThrow(/expected a tensor|was disposed/);
  });

  test("meets a code that no enumeration has, which kernels would take for an index", () => {
    const clone = native.op("aten::clone", "");
    expect(() => native.call(clone, floats(1), 4)).toThrow(
      "argument 'memory_format': unknown memory format 4",
    );
    const zeros = native.op("aten::zeros", "");
    for (const code of [-1, 12, 99, 2 ** 40]) {
      expect(() => native.call(zeros, [1], code)).toThrow(`argument 'dtype': unknown dtype ${code}`);
      expect(() => native.fromBuffer(new Uint8Array(1), code, [1], true)).toThrow("unknown dtype");
    }
  });

  test("meets a gradient that does not fit its tensor, which optimizer kernels would trust", () => {
    const tensor = floats(1, 2, 3, 4);
    expect(() => native.setGrad(tensor, floats(1, 2))).toThrow(
      "Float [2] does not fit a tensor of Float [4]",
    );
    expect(() => native.setGrad(tensor, tensor)).toThrow("its own gradient");
    expect(native.gradOf(tensor)).toBeNull();
  });

  test("meets a shape that is too large for the memory or for any number", () => {
    const empty = native.op("aten::empty", "memory_format");
    expect(() => native.call(empty, [2 ** 45], FLOAT32)).toThrow(/^aten::empty\.memory_format: /);
    expect(() => native.call(empty, [2 ** 40, 2 ** 40], FLOAT32)).toThrow(/^aten::empty\.memory_format: /);
    expect(() => native.fromBuffer(new Float32Array(1), FLOAT32, [2 ** 40, 2 ** 40], true)).toThrow(
      "too large",
    );
  });

  test("is the one that a getter threw, when JavaScript runs during a call", () => {
    const reshape = native.op("aten::reshape", "");
    const shape = Object.defineProperty([1], 0, {
      get() {
        throw new RangeError("from the getter");
      },
    });
    expect(() => native.call(reshape, floats(1), shape)).toThrow(new RangeError("from the getter"));
  });
});

test("a tensor whose new size finds no memory keeps its old one", () => {
  const tensor = floats(1, 2, 3, 4);
  expect(() => native.call(native.op("aten::resize_", ""), tensor, [2 ** 45])).toThrow();
  expect(native.sizes(tensor)).toEqual([4]);
  expect(numbers(tensor)).toEqual([1, 2, 3, 4]);
});

test("a conjugate's parts are read as they are, and zeros that are only told are refused", () => {
  const complex = native.call(native.op("aten::complex", ""), floats(1, 2), floats(3, 4));
  const parts = native.call(
    native.op("aten::view_as_real", ""),
    native.call(native.op("aten::resolve_conj", ""), native.call(native.op("aten::conj", ""), complex)),
  );
  expect(numbers(/** @type {number} */ (parts))).toEqual([1, -3, 2, -4]);
  const negative = /** @type {number} */ (native.call(native.op("aten::_neg_view", ""), floats(1, 2)));
  expect(numbers(negative)).toEqual([-1, -2]);
  expect(() => native.view(negative)).toThrow("only a contiguous tensor can be viewed");
  const told = /** @type {number} */ (native.call(native.op("aten::_efficientzerotensor", ""), [3], FLOAT32));
  expect(() => native.view(told)).toThrow("the tensor has no memory of its own");
});

describe("an array buffer", () => {
  test("that was detached is refused", () => {
    const array = new Float32Array(4);
    structuredClone(array.buffer, { transfer: [array.buffer] });
    for (const copy of [true, false]) {
      expect(() => native.fromBuffer(array, FLOAT32, [4], copy)).toThrow(
        "has 0 bytes (0 if its buffer was detached)",
      );
    }
  });

  const count = 1 << 14;
  const sevens = () => new Float32Array(count).fill(7);
  const detach = (/** @type {Float32Array} */ { buffer }) =>
    structuredClone(buffer, { transfer: [/** @type {ArrayBuffer} */ (buffer)] });
  /** [count], and reading it runs `act`. @param {() => void} act */
  const shapeThat = (act) =>
    Object.defineProperty([0], 0, {
      get() {
        act();
        return count;
      },
    });

  test("that the shape's getter detaches is refused, and nothing is read from where it was", () => {
    for (const copy of [true, false]) {
      const array = sevens();
      const shape = shapeThat(() => detach(array));
      expect(() => native.fromBuffer(array, FLOAT32, shape, copy)).toThrow(
        "has 0 bytes (0 if its buffer was detached)",
      );
    }
  });

  test("that the shape's getter makes smaller is refused", () => {
    /** @type {new (size: number, options: { maxByteLength: number }) => ArrayBuffer & { resize(size: number): void }} */
    const Resizable = /** @type {any} */ (ArrayBuffer);
    for (const fixed of [true, false]) {
      const buffer = new Resizable(4 * count, { maxByteLength: 8 * count });
      const array = fixed ? new Float32Array(buffer, 0, count) : new Float32Array(buffer);
      const shape = shapeThat(() => buffer.resize(4));
      expect(() => native.fromBuffer(array, FLOAT32, shape, true)).toThrow(
        `has ${fixed ? 0 : 4} bytes (0 if its buffer was detached)`,
      );
    }
  });

  test("that was detached under a tensor is refused by every call that would read it", () => {
    const array = sevens();
    const tensor = native.fromBuffer(array, FLOAT32, [count], false);
    const part = /** @type {number} */ (native.call(native.op("aten::view", ""), tensor, [2, count / 2]));
    const leaf = floats(1);
    native.setRequiresGrad(leaf, true);
    const product = native.call(native.op("aten::mul", "Tensor"), leaf, tensor);
    const sum = /** @type {number} */ (native.call(native.op("aten::sum", ""), product));
    detach(array);
    const gone = "the array under this tensor was detached or resized";
    expect(() => native.call(add, floats(1), tensor)).toThrow(gone);
    expect(() => native.call(native.op("aten::cat", ""), [floats(1), tensor])).toThrow(gone);
    expect(() => native.copyOut(part)).toThrow(gone);
    expect(() => native.item(tensor)).toThrow(gone);
    expect(() => native.backward([sum], null, false, false)).toThrow(
      "the array under a tensor was detached or resized: dispose of that tensor before backward",
    );
    native.releaseOne(tensor);
    native.releaseOne(part);
    expect(native.sizes(leaf)).toEqual([1]);
  });

  test("over a tensor's memory keeps it from being replaced", () => {
    const tensor = floats(1, 2, 3, 4);
    const view = new Float32Array(native.view(tensor));
    const shares = "an ArrayBuffer or a file shares its memory";
    const large = floats(...Array.from({ length: 40 }, () => 0));
    const call = (
      /** @type {string} */ name,
      /** @type {string} */ overload,
      /** @type {unknown[]} */ ...args
    ) => native.call(native.op(`aten::${name}`, overload), ...args);
    expect(() => call("resize_", "", tensor, [1000])).toThrow(shares);
    expect(() => call("resize_as_", "", tensor, large)).toThrow(shares);
    expect(() => call("add", "out", large, large, 1, tensor)).toThrow(shares);
    const replaced = "its memory is shared with an ArrayBuffer or a file, and cannot be replaced";
    expect(() => call("set_", "", tensor)).toThrow(replaced);
    expect(() => call("set_", "source_Tensor", tensor, large)).toThrow(replaced);
    expect(() => call("set_data", "", tensor, large)).toThrow(replaced);
    expect(native.sizes(tensor)).toEqual([4]); // as before the calls that failed
    call("add_", "Scalar", tensor, 1);
    expect([...view]).toEqual([2, 3, 4, 5]);
  });

  test("over a tensor's memory keeps that memory, whatever becomes of the tensor", () => {
    const tensor = floats(1, 2, 3, 4);
    const copy = /** @type {number} */ (native.call(native.op("aten::_lazy_clone", ""), tensor));
    const view = new Float32Array(native.view(tensor));
    native.call(native.op("aten::mul_", "Scalar"), tensor, 2);
    expect([...view]).toEqual([2, 4, 6, 8]);
    expect(numbers(copy)).toEqual([1, 2, 3, 4]);
    native.releaseOne(tensor);
    native.releaseOne(copy);
    for (let i = 0; i < 100; i++) native.releaseOne(floats(9, 9, 9, 9));
    expect([...view]).toEqual([2, 4, 6, 8]);
  });

  test("is shared by a tensor over it, in both directions, from any offset", () => {
    const array = new Float32Array(new ArrayBuffer(24), 8, 2);
    const tensor = native.fromBuffer(array, FLOAT32, [2], false);
    array[1] = 5;
    native.call(native.op("aten::add_", "Scalar"), tensor, 1);
    expect([...array]).toEqual([1, 6]);
    native.releaseOne(tensor);
  });

  test("over a tensor outlives the tensor's handle", () => {
    const tensor = floats(1, 2, 3);
    const view = new Float32Array(native.view(tensor));
    native.releaseOne(tensor);
    for (let i = 0; i < 100; i++) native.releaseOne(floats(...Array.from({ length: 3 }, () => i)));
    expect([...view]).toEqual([1, 2, 3]);
  });

  test("of an empty tensor is empty and usable", () => {
    const none = native.fromBuffer(new Float32Array(0), FLOAT32, [0, 3], true);
    // A detached buffer also has the length 0, but no array can be made over it.
    expect(new Float32Array(native.copyOut(none))).toHaveLength(0);
    expect(new Float32Array(native.view(none))).toHaveLength(0);
  });
});

describe("a worker thread", () => {
  const code = `
    import { parentPort, workerData } from "node:worker_threads";
    const { native } = await import(${engine});
    const made = [];
    for (let i = 0; i < 16; i++) made.push(native.fromBuffer(new Float32Array(1 << 20).fill(1), 6, [1 << 20], true));
    native.setRequiresGrad(made[0], true);
    const sum = native.call(native.op("aten::sum", ""), made[0]);
    native.backward([sum], null, false, false);
    parentPort.postMessage({ sum: native.item(sum), grad: native.item(native.call(native.op("aten::sum", ""), native.gradOf(made[0]))) });
    if (workerData.endless) for (;;) native.releaseOne(native.call(native.op("aten::add", "Tensor"), made[1], made[2]));
  `;
  /** @param {boolean} endless @returns {Promise<unknown>} */
  const run = (endless) =>
    new Promise((resolve, reject) => {
      const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`), {
        workerData: { endless },
      });
      /** @type {unknown} */
      let message;
      worker.once("message", (value) => {
        message = value;
        if (endless) worker.terminate().then(() => resolve(message), reject);
      });
      worker.once("error", reject);
      worker.once("exit", () => resolve(message));
    });

  test("has tensors of its own, computes, and frees them when it ends", async () => {
    const live = native.liveHandles();
    await run(false);
    const before = process.memoryUsage().rss;
    for (let i = 0; i < 12; i++) expect(await run(false)).toEqual({ sum: 1 << 20, grad: 1 << 20 });
    native.trimMemory();
    // Twelve times 64 MiB were made. What Node keeps of workers that ended differs from run to run, by some 100 MiB.
    expect(process.memoryUsage().rss - before).toBeLessThan(6 * 64 * 2 ** 20);
    expect(native.liveHandles()).toBe(live);
  }, 300_000);

  test("that is ended in the middle of its work leaves the process computing", async () => {
    expect(await run(true)).toEqual({ sum: 1 << 20, grad: 1 << 20 });
    expect(numbers(/** @type {number} */ (native.call(add, floats(1), floats(2))))).toEqual([3]);
  }, 300_000);
});

describe("a mapped file", () => {
  const count = 16 << 20;
  const path = join(folder, "numbers");
  const sum = native.op("aten::sum", "");
  const total = (/** @type {number} */ handle) =>
    native.item(/** @type {number} */ (native.call(sum, handle)));
  const over = (/** @type {number} */ mapping, from = 0, n = count) =>
    native.fromMapping(mapping, 4 * from, FLOAT32, [n]);

  /** Bytes of a mapped file that are in memory: of nothing else that this process holds. @param {string} file */
  const residentOf = (file) =>
    readFileSync("/proc/self/smaps", "utf8")
      .split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)
      .filter((mapped) => mapped.slice(0, mapped.indexOf("\n")).endsWith(file))
      .reduce((sum, mapped) => sum + 1024 * Number(/^Rss: +(\d+) kB/m.exec(mapped)?.[1]), 0);

  test.runIf(process.platform === "linux")(
    "is resident while a tensor lies over what was read, and no longer",
    () => {
      writeFileSync(path, new Float32Array(count).fill(1));
      const [mapping] = native.map(path);
      const handle = over(mapping);
      expect(residentOf(path)).toBeLessThan(count);
      expect(total(handle)).toBe(count);
      expect(residentOf(path)).toBeGreaterThan(3 * count);
      native.releaseOne(handle);
      expect(residentOf(path)).toBeLessThan(count);
      native.unmap(mapping);
    },
  );

  test("keeps what was written to it as long as any tensor lies there", () => {
    writeFileSync(path, new Float32Array(1 << 16).fill(1));
    const [mapping] = native.map(path);
    const all = over(mapping, 0, 1 << 16);
    const [left, right] = [over(mapping, 0, 5000), over(mapping, 5000, 5000)];
    native.call(native.op("aten::mul_", "Scalar"), left, 2);
    native.call(native.op("aten::mul_", "Scalar"), right, 3);
    native.releaseOne(all); // lies over the others
    native.releaseOne(left); // shares a page with its neighbour
    expect(total(right)).toBe(15_000);
    expect(numbers(over(mapping, 0, 2))).toEqual([1, 1]); // nobody held what was written here
    native.unmap(mapping);
  });
});

describe("large tensors", () => {
  const MB = 1 << 20;
  const full = native.op("aten::full", "");
  /** A tensor of so many MB, filled with a number. */
  const filled = (/** @type {number} */ size, /** @type {number} */ value) =>
    /** @type {number} */ (native.call(full, [(size * MB) / 4], value, FLOAT32));
  const resident = () => process.memoryUsage().rss / MB;

  test("get the memory of freed ones: of a larger, of a smaller that grows, and nothing is cleared anew", () => {
    native.trimMemory();
    native.releaseOne(filled(96, 1));
    const before = process.resourceUsage().minorPageFault;
    for (const handle of [filled(64, 1), filled(32, 1)]) native.releaseOne(handle); // of the one of 96
    native.releaseOne(filled(70, 1)); // the one of 64 and 6 more
    expect(process.resourceUsage().minorPageFault - before).toBeLessThan((8 * MB) / 4096);
  });

  test("never share memory, and what is kept adds nothing to the most that was in use, or to 128 MiB", () => {
    native.trimMemory();
    const before = resident();
    const most = native.op("aten::amax", "");
    const least = native.op("aten::amin", "");
    /** @type {{ handle: number, size: number, value: number }[]} */
    const held = [];
    let [used, mostUsed, seed] = [0, 0, 1];
    const random = () => {
      seed = (seed * 16807) % 2147483647;
      return seed / 2147483647;
    };
    for (let i = 1; i <= 300; i++) {
      const size = 1 + Math.floor(24 * random() ** 2) / 4;
      held.push({ handle: filled(size, i), size, value: i });
      used += size;
      mostUsed = Math.max(mostUsed, used);
      while (used > 200) {
        const [freed] = held.splice(Math.floor(random() * held.length), 1);
        if (!freed) break;
        const ends = [most, least].map((op) => /** @type {number} */ (native.call(op, freed.handle)));
        expect(ends.map((end) => native.item(end))).toEqual([freed.value, freed.value]);
        for (const handle of [...ends, freed.handle]) native.releaseOne(handle);
        used -= freed.size;
      }
      expect(resident() - before).toBeLessThan(Math.max(mostUsed, 128) + 16);
    }
    for (const { handle } of held) native.releaseOne(handle);
  });

  test("leave memory that trimMemory gives back", () => {
    native.releaseOne(filled(128, 1));
    const before = resident();
    native.trimMemory();
    expect(before - resident()).toBeGreaterThan(120);
  });

  test("that no memory holds are refused in libtorch's words", () => {
    const empty = native.op("aten::empty", "memory_format");
    expect(() => native.call(empty, [2 ** 46], FLOAT32)).toThrow(/can't allocate memory/);
    expect(numbers(/** @type {number} */ (native.call(add, floats(1), floats(2))))).toEqual([3]);
  });
});

describe("a process ends with code 0", () => {
  const live = `
    const { native } = await import(${engine});
    const held = native.fromBuffer(new Float32Array(4), 6, [4], false);
    native.setRequiresGrad(held, true);
    const graph = native.call(native.op("aten::exp", ""), held);
    const generator = native.generator(1, "cpu");
    const view = native.view(graph);
    const file = native.fromMapping(native.map(process.argv[1])[0], 0, 0, [8]);
    native.pushInferenceMode(true);
    const registry = new FinalizationRegistry(() => {});
    registry.register(view, 1);
  `;
  test.each([
    ["when its work is done", ""],
    ["when it says so", "process.exit();"],
    [
      "when it says so in the middle of a graph",
      "setImmediate(() => process.exit()); await new Promise(() => setInterval(() => {}, 1e6));",
    ],
    ["after a garbage collection", "globalThis.gc?.(); await new Promise((done) => setTimeout(done, 20));"],
  ])(
    "%s, with tensors, graphs, views and files alive",
    (_, ending) => {
      const { status, signal, stderr } = node(live + ending);
      expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: "" });
    },
    300_000,
  );
});
