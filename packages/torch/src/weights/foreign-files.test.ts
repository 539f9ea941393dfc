// Files as other tools write them, against what PyTorch reads of them: scripts/golden/foreign_files.py.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import {
  openSafetensors,
  openWeights,
  scope,
  type Tensor,
  tensor,
  UserError,
  writeSafetensors,
} from "../index.js";
import { FLOAT8_TYPES, float8Values } from "./float8.js";

const golden = (name: string): string =>
  fileURLToPath(new URL(`../../../../tests/golden/foreign/${name}`, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "foreign-"));
afterAll(() => rmSync(folder, { recursive: true }));

const numbers = (x: Tensor): number[] => [...x.to({ dtype: "float32" }).toNumbers()];

describe("numbers of eight bits", () => {
  test.each(["float8.safetensors", "float8.pt"])("in %s are the numbers that PyTorch reads", (name) => {
    scope(() => {
      using file = openWeights(golden(name));
      using expected = openSafetensors(golden("float8-expected.safetensors"));
      for (const key of file.keys()) {
        const read = file.get(key);
        expect([key, read.dtype, read.shape]).toEqual([key, "bfloat16", expected.info(key).shape]);
        expect(file.info(key)).toMatchObject({ dtype: "bfloat16", shape: read.shape });
        expect(numbers(read)).toEqual(numbers(expected.get(key)));
      }
      expect(file.keys()).toEqual(expect.arrayContaining([...FLOAT8_TYPES]));
    });
  });

  test.each(FLOAT8_TYPES)("of %s lose nothing as bfloat16", (type) => {
    scope(() => {
      const exact = float8Values(type);
      const rounded = tensor(exact, { dtype: "float64" }).to({ dtype: "bfloat16" });
      expect(Float64Array.from(numbers(rounded))).toEqual(exact);
    });
  });
});

const keyed = (path: string): Record<string, unknown> =>
  scope(() => {
    using file = openWeights(path);
    return Object.fromEntries(
      [...file.tensors()].sort().map(([name, x]) => [name, [x.dtype, x.shape, numbers(x)]]),
    );
  });

test.each([
  "training-state-2.ckpt",
  "training-state-4.ckpt",
  "training-state-5.ckpt",
  "training-state-old.ckpt",
  "model-of-data-parallel.pt",
])("%s gives its weights; what the trainer kept beside them is passed over", (name) => {
  expect(keyed(golden(name))).toEqual(keyed(golden("training-state-expected.safetensors")));
});

test("a weight that is an array of numpy is refused with its name", () => {
  expect(() => openWeights(golden("weight-is-an-array.ckpt"))).toThrow(
    /the weight b\.weight is an object of numpy\..*_reconstruct, not a tensor/,
  );
});

test.each(["module.", "_orig_mod.", "module._orig_mod."])(
  "a wrapper's prefix %s is left out where all names have it",
  (prefix) => {
    const path = join(folder, "wrapped.safetensors");
    writeSafetensors(path, { [`${prefix}a.weight`]: tensor([1]), [`${prefix}module.b`]: tensor([2]) });
    expect(Object.keys(keyed(path))).toEqual(["a.weight", "module.b"]);
    writeSafetensors(path, { [`${prefix}a.weight`]: tensor([1]), other: tensor([2]) });
    expect(Object.keys(keyed(path))).toEqual([`${prefix}a.weight`, "other"]);
  },
);

/** A safetensors file of one float32 with this header text beside the tensor's. */
function withHeader(metadata: string, dtype = "F32"): string {
  const header = Buffer.from(
    `{"__metadata__":${metadata},"a":{"dtype":"${dtype}","shape":[1],"data_offsets":[0,4]}}`,
  );
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const path = join(folder, "header.safetensors");
  writeFileSync(path, Buffer.concat([length, header, Buffer.from(Float32Array.of(3).buffer)]));
  return path;
}

// What the reference implementation does with each, observed of safetensors 0.8.
test("metadata null is none", () => {
  using file = openSafetensors(withHeader("null"));
  expect(file.metadata).toEqual({});
  expect(file.get("a").toNumbers()).toEqual([3]);
});

test.each(['{"k":1}', '{"k":null}', '{"k":{}}', "[]", '"text"', "5"])(
  "metadata %s is refused",
  (metadata) => {
    expect(() => openSafetensors(withHeader(metadata))).toThrow(UserError);
  },
);

test("a type that is not supported is called that, not a cut file", () => {
  try {
    openSafetensors(withHeader("{}", "U32"));
    expect.unreachable();
  } catch (error) {
    const { message, hint } = error as UserError;
    expect(message).toMatch(/a has the dtype U32, which is not supported/);
    expect(`${message} ${hint}`).not.toMatch(/not a whole|cut transfer/);
  }
});

test("a file of weights that is a link to itself or a pipe is refused, and not waited for", () => {
  const [circle, pipe] = [join(folder, "circle.bin"), join(folder, "pipe.bin")];
  symlinkSync("circle.bin", circle);
  spawnSync("mkfifo", [pipe]);
  expect(() => openWeights(circle)).toThrow(UserError);
  expect(() => openWeights(circle)).toThrow(/circle\.bin cannot be read: ELOOP/);
  if (existsSync(pipe)) expect(() => openWeights(pipe)).toThrow(/pipe\.bin is no ordinary file/);
});
