import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type DType,
  liveTensors,
  openSafetensors,
  readSafetensors,
  scope,
  type Tensor,
  tensor,
  UserError,
  writeSafetensors,
  zeros,
} from "../index.js";

let folder: string;
let path: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "safetensors-"));
  path = join(folder, "x.safetensors");
});
afterAll(() => rmSync(folder, { recursive: true }));

const dtypes: DType[] = [
  "uint8",
  "int8",
  "int16",
  "int32",
  "int64",
  "float16",
  "bfloat16",
  "float32",
  "float64",
  "bool",
];

/** What can be compared: dtype, shape and numbers. */
const contents = (tensors: ReadonlyMap<string, Tensor>) =>
  new Map(
    [...tensors]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, t]) => [name, [t.dtype, t.shape, t.toTypedArray()]]),
  );

/** A file of a header (an object or text) and data. */
function file(header: unknown, data: Uint8Array = new Uint8Array(0), claimed?: bigint): Buffer {
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(claimed ?? BigInt(text.length));
  return Buffer.concat([length, text, data]);
}
const f32 = (shape: number[], begin: number, end: number) => ({
  dtype: "F32",
  shape,
  data_offsets: [begin, end],
});
const bytes = (n: number): Uint8Array => Uint8Array.from({ length: n }, (_, i) => i);

/** The fault that reading a file of these bytes gives, or undefined; anything but a fault that the user can mend fails the test. */
function fault(contents: Uint8Array): string | undefined {
  writeFileSync(path, contents);
  try {
    scope(() => {
      using opened = openSafetensors(path);
      for (const each of opened.tensors().values()) each.toTypedArray();
    });
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    expect((error as UserError).code).toBe("DATA");
    expect((error as UserError).message).toContain(path);
    return (error as UserError).message;
  }
}

describe("what is written is read again", () => {
  const entry = fc.record({
    name: fc.string({ unit: "binary", maxLength: 12 }).filter((name) => name !== "__metadata__"),
    dtype: fc.constantFrom(...dtypes),
    shape: fc.array(fc.nat(4), { maxLength: 4 }),
    seed: fc.nat(),
  });
  const metadata = fc.dictionary(
    fc.string().filter((key) => key !== "__proto__"),
    fc.string(),
    { maxKeys: 3 },
  );

  test("for any names, dtypes, shapes, values and metadata", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(entry, { selector: ({ name }) => name, maxLength: 6 }),
        metadata,
        (entries, notes) =>
          scope(() => {
            const tensors = new Map(
              entries.map(({ name, dtype, shape, seed }) => {
                const count = shape.reduce((a, b) => a * b, 1);
                const values = Array.from({ length: count }, (_, i) => (seed * 31 + i * 17) % 100);
                return [name, tensor(Float64Array.from(values), { dtype, shape })];
              }),
            );
            writeSafetensors(path, tensors, notes);
            using opened = openSafetensors(path);
            expect(contents(opened.tensors())).toEqual(contents(tensors));
            expect({ ...opened.metadata }).toEqual({ ...notes });
            const first = readFileSync(path);
            writeSafetensors(path, opened.tensors(), opened.metadata);
            expect(readFileSync(path).equals(first)).toBe(true);
          }),
      ),
      { numRuns: 150 },
    );
  });

  test("in row-major order, whatever the strides, and on the very bits", () =>
    scope(() => {
      const odd = tensor(new Float32Array(new Uint32Array([0x7fc12345, 0x80000000, 0xff800000, 1]).buffer));
      const view = tensor([
        [1, 2, 3],
        [4, 5, 6],
      ]).transpose(0, 1);
      writeSafetensors(path, { odd, view });
      const read = readSafetensors(path);
      expect(new Uint32Array((read.get("odd") as Tensor).toTypedArray().buffer)).toEqual(
        new Uint32Array([0x7fc12345, 0x80000000, 0xff800000, 1]),
      );
      expect(read.get("view")?.shape).toEqual([3, 2]);
      expect(read.get("view")?.toNumbers()).toEqual([1, 4, 2, 5, 3, 6]);
    }));

  test("from memory that outlives the file and its name", () =>
    scope(() => {
      writeSafetensors(path, { x: tensor([1, 2]) });
      const x = readSafetensors(path).get("x") as Tensor;
      writeSafetensors(path, { x: tensor([3, 4]) });
      rmSync(path);
      expect(x.toNumbers()).toEqual([1, 2]);
    }));

  test("and writing to a tensor of a file leaves the file alone", () =>
    scope(() => {
      writeSafetensors(path, { x: tensor([1, 2]) });
      const before = readFileSync(path);
      const x = readSafetensors(path).get("x") as Tensor;
      x.add_(5);
      expect(x.toNumbers()).toEqual([6, 7]);
      expect(readFileSync(path).equals(before)).toBe(true);
    }));

  test("but a tensor may not take the name that the format keeps for itself", () =>
    scope(() => {
      expect(() => writeSafetensors(path, { __metadata__: tensor([1]) })).toThrow("__metadata__");
    }));
});

describe("a file that is not whole is refused:", () => {
  const one = { a: f32([2], 0, 8) };
  const hostile: [name: string, contents: () => Uint8Array, why: RegExp][] = [
    ["an empty one", () => new Uint8Array(0), /it has 0 bytes/],
    ["one of seven bytes", () => bytes(7), /it has 7 bytes/],
    [
      "a header that is longer than the file",
      () => file(one, bytes(8), 1000n),
      /claims 1000 bytes, the file has/,
    ],
    ["a header of 2^63 bytes", () => file(one, bytes(8), 2n ** 63n), /its header claims/],
    ["a header of 2^64 - 1 bytes", () => file(one, bytes(8), 2n ** 64n - 1n), /its header claims/],
    ["a header over 100 MB", () => file(one, bytes(8), 100_000_001n), /its header claims 100000001 bytes/],
    ["an empty header", () => file("", bytes(8)), /does not start with \{/],
    ["a header that is an array", () => file("[1]", bytes(0)), /does not start with \{/],
    ["a space before the header", () => file(` ${JSON.stringify(one)}`, bytes(8)), /does not start with \{/],
    ["a header that is cut", () => file(JSON.stringify(one).slice(0, -3), bytes(8)), /not JSON/],
    ["a header that goes on after its end", () => file(`${JSON.stringify(one)}{}`, bytes(8)), /not JSON/],
    [
      "a header that is not UTF-8",
      () =>
        Buffer.concat([Buffer.from([5, 0, 0, 0, 0, 0, 0, 0]), Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d])]),
      /not UTF-8/,
    ],
    [
      "brackets nested without end",
      () => file(`{"a":${"[".repeat(100_000)}`, bytes(8)),
      /nested more than 16 deep/,
    ],
    [
      "a name that stands twice",
      () =>
        file(
          '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
          bytes(4),
        ),
      /stands twice/,
    ],
    [
      "a name that stands twice, once escaped",
      () =>
        file(
          '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\\u0061":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
          bytes(4),
        ),
      /stands twice/,
    ],
    [
      "a hole before the first",
      () => file({ a: f32([1], 4, 8) }, bytes(8)),
      /a starts at byte 4, expected 0/,
    ],
    [
      "a hole in between",
      () => file({ a: f32([1], 0, 4), b: f32([1], 8, 12) }, bytes(12)),
      /b starts at byte 8, expected 4/,
    ],
    [
      "two that overlap",
      () => file({ a: f32([2], 0, 8), b: f32([1], 4, 8) }, bytes(8)),
      /b starts at byte 4, expected 8/,
    ],
    ["two at the same place", () => file({ a: f32([1], 0, 4), b: f32([1], 0, 4) }, bytes(4)), /expected 4/],
    ["bytes after the last", () => file(one, bytes(9)), /tensors end at byte/],
    ["data that ends early", () => file(one, bytes(7)), /tensors end at byte/],
    ["no data at all", () => file(one), /tensors end at byte/],
    ["offsets the wrong way round", () => file({ a: f32([2], 8, 0) }, bytes(8)), /needs 8 bytes and has -8/],
    ["an offset below zero", () => file({ a: f32([2], -8, 0) }, bytes(8)), /no proper data_offsets/],
    [
      "an offset that is no integer",
      () => file({ a: f32([2], 0.5, 8.5) }, bytes(8)),
      /no proper data_offsets/,
    ],
    [
      "an offset beyond 2^53",
      () =>
        file(
          '{"a":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,18446744073709551616]}}',
          bytes(8),
        ),
      /no proper data_offsets/,
    ],
    [
      "three offsets",
      () => file({ a: { dtype: "F32", shape: [1], data_offsets: [0, 4, 8] } }, bytes(8)),
      /no proper data_offsets/,
    ],
    [
      "a shape that needs more than there is",
      () => file({ a: f32([3], 0, 8) }, bytes(8)),
      /needs 12 bytes and has 8/,
    ],
    ...[
      [0, 2 ** 40, 2 ** 40],
      [2 ** 40, 0, 2 ** 40],
      [2 ** 40, 2 ** 40, 0],
    ].map((shape): [string, () => Uint8Array, RegExp] => [
      `sizes whose product overflows beside a zero, [${shape}]`,
      () => file({ a: f32(shape, 0, 0) }),
      /too large/,
    ]),
    [
      "a dtype that is no text",
      () => file({ a: { dtype: [["F32"]], shape: [1], data_offsets: [0, 4] } }, bytes(4)),
      /a has no dtype/,
    ],
    ["no dtype", () => file({ a: { shape: [1], data_offsets: [0, 4] } }, bytes(4)), /a has no dtype/],
    ["a size below zero", () => file({ a: f32([-1], 0, 4) }, bytes(4)), /no proper shape/],
    [
      "sizes whose product overflows",
      () => file({ a: f32([2 ** 40, 2 ** 40], 0, 4) }, bytes(4)),
      /too large/,
    ],
    [
      "sizes whose product overflows and is then zero",
      () => file({ a: f32([2 ** 40, 2 ** 40, 0], 0, 0) }),
      /too large/,
    ],
    [
      "sizes whose product overflows to what is there",
      () => file({ a: f32([2 ** 32, 2 ** 30, 4], 0, 0) }),
      /too large/,
    ],
    [
      "a shape that is no array",
      () => file({ a: { dtype: "F32", shape: "4", data_offsets: [0, 4] } }, bytes(4)),
      /no proper shape/,
    ],
    [
      "a dtype that nobody knows",
      () => file({ a: { dtype: "F31", shape: [1], data_offsets: [0, 4] } }, bytes(4)),
      /dtype F31/,
    ],
    [
      "a dtype that every object has",
      () => file({ a: { dtype: "constructor", shape: [1], data_offsets: [0, 4] } }, bytes(4)),
      /a /,
    ],
    ["a tensor that is no object", () => file({ a: null }), /a is no object/],
    ["metadata that is no object", () => file({ __metadata__: ["x"] }), /metadata is no object/],
    [
      "a name twice, behind a long string and written in another way",
      () =>
        file(
          `{"__metadata__":{"x":"${'\\\\\\"'.repeat(1e5)}"},"a":${JSON.stringify(f32([1], 0, 4))},"\\u0061":${JSON.stringify(f32([1], 4, 8))}}`,
          bytes(8),
        ),
      /stands twice/,
    ],
    [
      "more names than a checkpoint has",
      () => file(`{${Array.from({ length: 200_001 }, (_, i) => `"${i}":1`).join(",")}}`),
      /lists 200001 tensors and 200001 names, more than a checkpoint has/,
    ],
    [
      "more numbers than a checkpoint has",
      () => file(`{"a":[${"1,".repeat(2_000_001)}1]}`),
      /more than a ch/,
    ],
    [
      "brackets within brackets, before they fill the memory",
      () => file(`{"a":${"[".repeat(1 << 20)}`),
      /nested more than 16 deep/,
    ],
    [
      "the same in braces that close",
      () => file(`{"a":${'{"b":'.repeat(99)}1${"}".repeat(100)}`),
      /nested more than 16/,
    ],
    ["a string without end", () => file(`{"a\\`), /not JSON/],
    ["metadata that is no text", () => file({ __metadata__: { n: 1 } }), /metadata n is no string/],
  ];
  test.each(hostile)("%s", (_, contents, why) => {
    expect(fault(contents())).toMatch(why);
  });

  test("one cut at any byte", () => {
    scope(() =>
      writeSafetensors(
        path,
        { a: tensor([1, 2, 3]), "b.c": tensor([[4]], { dtype: "int64" }) },
        { made: "here" },
      ),
    );
    const whole = readFileSync(path);
    for (let length = 0; length < whole.length; length++) {
      writeFileSync(path, whole);
      truncateSync(path, length);
      expect(fault(readFileSync(path)), `cut at ${length}`).toBeDefined();
    }
    expect(fault(whole)).toBeUndefined();
  });

  test("one that is a folder, is not there, or may not be a file", () => {
    expect(() => openSafetensors(join(folder, "nowhere"))).toThrow(
      `${join(folder, "nowhere")} does not exist.`,
    );
    expect(() => openSafetensors(folder)).toThrow(/not a regular file/);
  });
});

test("a header of 50 MB is refused within a second of computing, and is told how to be written", () => {
  const names = Array.from(
    { length: 600_000 },
    (_, i) => `"blocks.${i}.${"x".repeat(12)}":${JSON.stringify(f32([1], 4 * i, 4 * i + 4))}`,
  );
  writeFileSync(path, file(`{${names.join(",")}}`));
  const before = process.cpuUsage();
  expect(() => openSafetensors(path)).toThrow(
    expect.objectContaining({ hint: expect.stringContaining("several files") }),
  );
  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 1e6).toBeLessThan(1);
});

describe("an odd file that is whole is read:", () => {
  test.each<[string, () => Uint8Array, number]>([
    ["no tensor at all", () => file("{}"), 0],
    ["padding behind the header", () => file(`${JSON.stringify({ a: f32([1], 0, 4) })}     `, bytes(4)), 1],
    ["a scalar", () => file({ a: f32([], 0, 4) }, bytes(4)), 1],
    ["tensors of no element", () => file({ a: f32([0, 3], 0, 0), b: f32([0], 0, 0) }), 2],
    [
      "metadata of megabytes in one string, with quotes, braces and escapes",
      () =>
        file(
          { a: f32([1], 0, 4), __metadata__: { long: `${'{"a":\\\\'.repeat(3_000_000)}\\`, '\\"': ":" } },
          bytes(4),
        ),
      1,
    ],
    ["hostile names", () => file({ "../../etc/x": f32([1], 0, 4), "": f32([0], 4, 4) }, bytes(4)), 2],
    [
      "the name __proto__",
      () => file('{"__proto__":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
      1,
    ],
  ])("%s", (_, contents, count) =>
    scope(() => {
      writeFileSync(path, contents());
      expect(readSafetensors(path).size).toBe(count);
      expect(({} as { dtype?: string }).dtype).toBeUndefined();
    }),
  );

  test("data that is not aligned to its dtype", () =>
    scope(() => {
      const floats = new Uint8Array(Float64Array.of(1.5, -2).buffer);
      const header = {
        a: { dtype: "U8", shape: [3], data_offsets: [0, 3] },
        b: { dtype: "F64", shape: [2], data_offsets: [3, 19] },
      };
      writeFileSync(path, file(header, Buffer.concat([bytes(3), floats])));
      expect(readSafetensors(path).get("b")?.toNumbers()).toEqual([1.5, -2]);
    }));
});

/** What a reader without any check makes of a file: for those that are accepted, the right data. */
function naive(file: Buffer): Map<string, Buffer> {
  const length = Number(file.readBigUInt64LE(0));
  const header: Record<string, { data_offsets: [number, number] }> = JSON.parse(
    file.subarray(8, 8 + length).toString(),
  );
  return new Map(
    Object.entries(header)
      .filter(([name]) => name !== "__metadata__")
      .map(([name, { data_offsets }]) => [
        name,
        file.subarray(8 + length + data_offsets[0], 8 + length + data_offsets[1]),
      ]),
  );
}

test("2,000 damaged files give an error or the right data, each within 5 s and 256 MB, and leave no tensor and no mapping", () => {
  let state = 12345;
  const below = (n: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return Math.floor((state / 0x80000000) * n);
  };
  scope(() =>
    writeSafetensors(
      path,
      {
        "a.weight": tensor([1, 2, 3, 4], { dtype: "float64" }),
        b: tensor([[5, 6]]),
        c: zeros([3], { dtype: "uint8" }),
      },
      { note: "x" },
    ),
  );
  const whole = readFileSync(path);
  const before = liveTensors();
  const memory = process.memoryUsage.rss();
  let [accepted, slowest, peak] = [0, 0, memory];
  for (let i = 0; i < 2000; i++) {
    let mutant = Buffer.from(whole);
    for (let n = 1 + below(3); n > 0; n--) {
      const at = below(i % 3 === 0 ? mutant.length : Math.min(mutant.length, 200)); // most of them in the header
      const kind = below(5);
      if (kind === 0) mutant[at] = (mutant[at] as number) ^ (1 << below(8));
      else if (kind === 1) mutant[at] = below(256);
      else if (kind === 2)
        mutant = Buffer.concat([mutant.subarray(0, at), mutant.subarray(at + 1 + below(9))]);
      else if (kind === 3)
        mutant = Buffer.concat([mutant.subarray(0, at), mutant.subarray(0, below(20)), mutant.subarray(at)]);
      else mutant[at] = '0123456789,:[]{}"'.charCodeAt(below(17));
    }
    const start = process.cpuUsage(); // not the clock: a busy machine may stop this process for seconds
    const refused = fault(mutant) !== undefined;
    const { user, system } = process.cpuUsage(start);
    slowest = Math.max(slowest, (user + system) / 1e6);
    peak = Math.max(peak, process.memoryUsage.rss());
    if (refused) continue;
    accepted++;
    scope(() => {
      const right = naive(mutant);
      const read = readSafetensors(path);
      expect([...read.keys()].sort()).toEqual([...right.keys()].sort());
      for (const [name, data] of right) {
        const numbers = read.get(name) as Tensor;
        if (numbers.dtype === "float16" || numbers.dtype === "bfloat16") continue; // come as float32
        const array = numbers.toTypedArray();
        expect(Buffer.from(array.buffer, array.byteOffset, array.byteLength).equals(data)).toBe(true);
      }
    });
  }
  expect(liveTensors()).toBe(before);
  expect(accepted).toBeGreaterThan(20); // damage in the data alone is no fault of the format
  expect(accepted).toBeLessThan(1500);
  expect(slowest).toBeLessThan(5);
  expect(peak - memory).toBeLessThan(256 << 20);
}, 600_000);

test("one bad file among thousands leaves no file open", () => {
  const open = (): string[] =>
    readdirSync("/proc/self/fd").filter((number) => {
      try {
        return readlinkSync(`/proc/self/fd/${number}`) === path;
      } catch {
        return false; // that of the folder that was just read
      }
    });
  writeFileSync(path, file({ a: f32([3], 0, 8) }, bytes(8)));
  for (let i = 0; i < 200; i++) expect(() => openSafetensors(path)).toThrow(UserError);
  expect(open()).toEqual([]);
});
