import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import {
  liveTensors,
  openSafetensors,
  openTorchFile,
  openWeights,
  readTorchFile,
  scope,
  type Tensor,
  UserError,
} from "../index.js";
import {
  legacyFile,
  opcodes,
  pickleDict,
  type Storages,
  tensorOpcodes,
  type View,
  zipFile,
} from "./torch-file.fixture.js";

const folder = mkdtempSync(join(tmpdir(), "torch-load-"));
afterAll(() => rmSync(folder, { recursive: true }));

let count = 0;
function write(bytes: Uint8Array): string {
  const path = join(folder, `${count++}.bin`);
  writeFileSync(path, bytes);
  return path;
}

const floats = (values: readonly number[]): Storages[string] => ({
  type: "FloatStorage",
  bytes: new Uint8Array(Float32Array.from(values).buffer),
  count: values.length,
});

const whole = (shape: readonly number[], storage = "0"): View => ({
  storage,
  shape,
  strides: shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1)),
  offset: 0,
});

const SIMPLE = { 0: floats([1, 2, 3, 4, 5, 6]) };

/** The message of the UserError that opening a file throws. */
function refusal(bytes: Uint8Array): string {
  try {
    openTorchFile(write(bytes)).close();
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    return (error as Error).message;
  }
  throw new Error("the file was accepted");
}

describe("files of torch.save", () => {
  const containers = { "the zip container": zipFile, "the form before it": legacyFile };
  for (const [name, container] of Object.entries(containers)) {
    test(`a view with any offset and strides in ${name} has the elements that those name`, () => {
      fc.assert(
        fc.property(
          fc.array(fc.float({ noNaN: true }), { minLength: 1, maxLength: 40 }),
          fc.array(fc.record({ size: fc.nat(3), stride: fc.nat(4) }), { maxLength: 3 }),
          fc.nat(10),
          fc.boolean(),
          (values, axes, offset, parameter) => {
            const last = axes.reduce((sum, { size, stride }) => sum + Math.max(0, size - 1) * stride, offset);
            fc.pre(last < values.length);
            const storages = { 7: floats(values) };
            const shape = axes.map(({ size }) => size);
            const strides = axes.map(({ stride }) => stride);
            const view = { storage: "7", shape, strides, offset, parameter };
            const opcodes = tensorOpcodes(view, storages, container === legacyFile);
            const path = write(container(pickleDict({ x: opcodes }), storages));
            scope(() => {
              const x = readTorchFile(path).get("x") as Tensor;
              let expected = [offset];
              for (const { size, stride } of axes)
                expected = expected.flatMap((at) => Array.from({ length: size }, (_, i) => at + i * stride));
              expect(x.shape).toEqual(shape);
              expect(x.toNumbers()).toEqual(expected.map((at) => Math.fround(values[at] as number)));
            });
          },
        ),
        { numRuns: 100 },
      );
    });
  }

  test("tensors of one storage share its memory, and the file stays as it was when one is written to", () => {
    const pickle = pickleDict({
      a: tensorOpcodes(whole([6]), SIMPLE),
      b: tensorOpcodes({ ...whole([2]), offset: 4 }, SIMPLE),
    });
    const path = write(zipFile(pickle, SIMPLE));
    const before = readFileSync(path);
    scope(() => {
      const weights = readTorchFile(path);
      weights.get("a")?.fill_(9);
      expect(weights.get("b")?.toNumbers()).toEqual([9, 9]);
    });
    expect(readFileSync(path)).toEqual(before);
  });

  test("opening and closing a file leaves no tensor alive but those taken", () => {
    const path = write(zipFile(pickleDict({ a: tensorOpcodes(whole([6]), SIMPLE) }), SIMPLE));
    const before = liveTensors();
    const weights = readTorchFile(path);
    expect(liveTensors()).toBe(before + 1);
    for (const tensor of weights.values()) tensor.dispose();
    expect(liveTensors()).toBe(before);
  });

  test("tensors under state_dict are found beside plain values", () => {
    const inner = pickleDict({ w: tensorOpcodes(whole([2, 3]), SIMPLE) }).slice(2, -1);
    const path = write(zipFile(pickleDict({ epoch: opcodes.int(3), state_dict: [...inner] }), SIMPLE));
    using file = openTorchFile(path);
    expect(file.keys()).toEqual(["w"]);
    expect(file.info("w")).toEqual({ dtype: "float32", shape: [2, 3] });
  });
});

describe("what is refused", () => {
  const call = (module: string, name: string): number[] => [
    ...opcodes.global(module, name),
    ...[...opcodes.mark, ...opcodes.text("touch pickle-was-executed.txt"), ...opcodes.tuple],
    ...opcodes.reduce,
  ];

  // Besides the plain ones: ways by which lists of forbidden names were passed by. A list of known ones has no such holes.
  test.each([
    ["posix", "system"],
    ["os", "system"],
    ["nt", "system"],
    ["builtins", "eval"],
    ["builtins", "exec"],
    ["__builtin__", "getattr"],
    ["subprocess", "Popen"],
    ["pip", "main"],
    ["runpy", "_run_code"],
    ["asyncio.unix_events", "_UnixSubprocessTransport._start"],
    ["torch.storage", "_load_from_bytes"],
    ["torch.serialization", "load"],
    ["torch._utils", "_rebuild_tensor_v2.__globals__"],
    ["collections", "OrderedDict.__reduce__"],
    ["__proto__", "constructor"],
    ["", ""],
  ])("the global %s.%s is refused by its name", (module, name) => {
    for (const container of [zipFile, legacyFile]) {
      const pickle = pickleDict({ a: tensorOpcodes(whole([6]), SIMPLE), x: call(module, name) });
      expect(refusal(container(pickle, SIMPLE))).toContain(JSON.stringify(`${module}.${name}`));
    }
    expect(existsSync("pickle-was-executed.txt")).toBe(false);
  });

  test.each([
    ["an element behind its storage", { ...whole([6]), offset: 1 }, /needs 7 elements, its storage has 6/],
    ["strides that leave its storage", { ...whole([2, 3]), strides: [4, 1] }, /needs 7 elements/],
    ["more sizes than strides", { ...whole([2, 3]), strides: [1] }, /2 sizes and 1 strides/],
    ["a negative size", { ...whole([6]), shape: [-1] }, /not described as torch.save does it/],
    ["a view that repeats one element 2^30 times", { ...whole([1 << 30]), strides: [0] }, /claim \d+ bytes/],
  ] as [string, View, RegExp][])("a tensor with %s is refused", (_, view, message) => {
    expect(refusal(zipFile(pickleDict({ x: tensorOpcodes(view, SIMPLE) }), SIMPLE))).toMatch(message);
  });

  test("a storage that the container lacks is refused", () => {
    expect(refusal(zipFile(pickleDict({ x: tensorOpcodes(whole([6]), SIMPLE) }), {}))).toMatch(
      /storage 0 is missing/,
    );
  });

  test("a compressed entry is refused", () => {
    const bytes = Buffer.from(zipFile(pickleDict({ x: tensorOpcodes(whole([6]), SIMPLE) }), SIMPLE));
    bytes.writeUInt16LE(8, bytes.indexOf(Buffer.from([0x50, 0x4b, 1, 2])) + 10);
    expect(refusal(bytes)).toMatch(/compressed/);
  });

  test("a file without tensors is refused with the names that it has", () => {
    expect(refusal(zipFile(pickleDict({ epoch: opcodes.int(3) }), {}))).toMatch(/it has epoch/);
  });

  test("a pickle that makes a million objects is refused before they fill the memory", () => {
    const pickle = Uint8Array.from([...opcodes.proto, ...new Array(1_000_000).fill(0x7d), ...opcodes.stop]);
    expect(refusal(zipFile(pickle, {}))).toMatch(/more than 500000 objects/);
  });

  test("a pickle that makes a long list a dict again and again is refused as if it had written it out", () => {
    const pair = [...opcodes.text("a"), ...opcodes.int(1), 0x86]; // TUPLE2
    const list = [0x5d, ...opcodes.mark, ...Array.from({ length: 10_000 }, () => pair).flat(), 0x65, 0x71, 0];
    const asDict = [...opcodes.global("collections", "OrderedDict"), 0x68, 0, 0x85, ...opcodes.reduce];
    const pickle = Uint8Array.from([
      ...[...opcodes.proto, ...list, ...Array.from({ length: 60 }, () => asDict).flat()],
      ...opcodes.stop,
    ]);
    expect(refusal(zipFile(pickle, {}))).toMatch(/more than 500000 objects/);
  });

  test("a directory of more entries than a checkpoint has is refused before it is read", () => {
    const file = Buffer.from(zipFile(pickleDict({}), {}));
    const end = Buffer.alloc(56 + 20 + 22); // the end records of files above 4 GB, which count in 64 bits
    end.writeUInt32LE(0x06064b50, 0);
    end.writeBigUInt64LE(100_001n, 32);
    end.writeUInt32LE(0x07064b50, 56);
    end.writeBigUInt64LE(BigInt(file.length), 64);
    end.writeUInt32LE(0x06054b50, 76);
    expect(refusal(Buffer.concat([file, end]))).toMatch(/its directory claims 100001 entries/);
  });
});

/** A seeded generator of integers below n. Source: Marsaglia 2003, xorshift32. */
function random(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % n;
  };
}

function mutate(bytes: Uint8Array, draw: (n: number) => number): Uint8Array {
  const mutant = Buffer.from(bytes);
  const kind = draw(4);
  if (kind === 0) return mutant.subarray(0, draw(mutant.length));
  if (kind === 1) {
    const [from, to] = [draw(mutant.length), draw(mutant.length)];
    mutant.copyWithin(to, from, from + 1 + draw(64));
    return mutant;
  }
  for (let i = 0; i <= draw(6); i++)
    mutant[draw(mutant.length)] =
      kind === 2 ? draw(256) : [0, 1, 0x7f, 0x80, 0xff, 0x28, 0x52, 0x32][draw(8)]!;
  return mutant;
}

test("the older form is known by its number also where protocol 4 puts a frame before it", () => {
  const storages: Storages = { 0: floats([1, 2, 3]) };
  const plain = legacyFile(pickleDict({ a: tensorOpcodes(whole([3]), storages, true) }), storages);
  const frame = [0x80, 4, 0x95, 13, 0, 0, 0, 0, 0, 0, 0];
  const path = join(folder, "framed.bin");
  writeFileSync(path, Buffer.concat([Buffer.from(frame), plain.subarray(2)]));
  using file = openWeights(path);
  expect(file.get("a").toNumbers()).toEqual([1, 2, 3]);
});

test("2,000 damaged files are read or refused with a UserError, each within 5 s and 256 MB", () => {
  const storages: Storages = { 0: floats(Array.from({ length: 64 }, (_, i) => i)), 1: floats([1, 2]) };
  const pickle = (legacy: boolean): Uint8Array =>
    pickleDict({
      a: tensorOpcodes(whole([8, 8]), storages, legacy),
      b: tensorOpcodes({ storage: "0", shape: [4, 4], strides: [1, 8], offset: 3 }, storages, legacy),
      c: tensorOpcodes({ ...whole([2], "1"), parameter: true }, storages, legacy),
      epoch: opcodes.int(7),
    });
  // One that is hostile from the start: no mutant of it may get further than to be refused.
  const hostile = pickleDict({
    a: tensorOpcodes(whole([8, 8]), storages),
    x: [
      ...opcodes.global("posix", "system"),
      ...[...opcodes.mark, ...opcodes.text("touch pickle-was-executed.txt"), ...opcodes.tuple],
      ...opcodes.reduce,
    ],
  });
  const originals = [
    zipFile(pickle(false), storages),
    legacyFile(pickle(true), storages),
    zipFile(hostile, storages),
  ];
  const draw = random(20240607);
  const path = join(folder, "mutant.bin");
  let accepted = 0;
  let slowest = 0;
  const before = process.memoryUsage.rss();
  let peak = before;
  for (let i = 0; i < 2000; i++) {
    writeFileSync(path, mutate(originals[i % originals.length] as Uint8Array, draw));
    const start = process.cpuUsage(); // not the clock: a busy machine may stop this process for seconds
    scope(() => {
      try {
        for (const tensor of readTorchFile(path).values()) tensor.toNumbers();
        accepted++;
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
      }
    });
    const { user, system } = process.cpuUsage(start);
    slowest = Math.max(slowest, (user + system) / 1e6);
    peak = Math.max(peak, process.memoryUsage.rss());
  }
  expect(slowest).toBeLessThan(5);
  expect(peak - before).toBeLessThan(256 << 20);
  expect(existsSync("pickle-was-executed.txt")).toBe(false);
  // Most changes hit the padding or numbers; if none were accepted or all, the mutants would test nothing.
  expect(accepted).toBeGreaterThan(100);
  expect(accepted).toBeLessThan(1900);
}, 600_000);

const fixtures = fileURLToPath(new URL("../../../../shared/fixtures/torch-bin", import.meta.url));
const present = existsSync(fixtures);

describe.runIf(present)("files that PyTorch wrote", () => {
  for (const name of present ? readdirSync(fixtures).filter((file) => file.endsWith(".bin")) : []) {
    const golden = join(fixtures, name.replace(".bin", ".safetensors"));
    if (existsSync(golden)) {
      test(`${name} gives the tensors that PyTorch saved`, () => {
        using expected = openSafetensors(golden);
        using file = openTorchFile(join(fixtures, name));
        expect(file.keys().sort()).toEqual(expected.keys().sort());
        for (const key of expected.keys()) {
          scope(() => {
            const [actual, wanted] = [file.get(key), expected.get(key)];
            expect([actual.dtype, actual.shape]).toEqual([wanted.dtype, wanted.shape]);
            expect(actual.toTypedArray()).toEqual(wanted.toTypedArray());
          });
        }
      });
    } else {
      test(`${name} is refused, and nothing is created`, () => {
        expect(refusal(readFileSync(join(fixtures, name)))).toMatch(
          /asks for "[^"]+", which weights do not need/,
        );
        expect(existsSync("pickle-was-executed.txt")).toBe(false);
      });
    }
  }
});

test.skipIf(present)("files that PyTorch wrote: skipped, ../shared/fixtures is not there", () => {});
