import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import {
  liveTensors,
  openTorchFile,
  readTorchRecord,
  scope,
  Tensor,
  tensor,
  writeTorchRecord,
} from "../index.js";
import { opcodes, pickleDict, zipFile } from "./torch-file.fixture.js";
import type { TorchRecord } from "./torch-save.js";

const folder = mkdtempSync(join(tmpdir(), "torch-save-"));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, "record.pt");

/** Tensors as their type, shape and numbers. */
const plain = (record: TorchRecord): unknown =>
  Object.fromEntries(
    Object.entries(record).map(([name, value]) => [
      name,
      value instanceof Tensor
        ? [value.dtype, value.shape, value.toNumbers()]
        : typeof value === "number"
          ? value
          : plain(value),
    ]),
  );

test("a record comes back as it was written: dicts in dicts, numbers, tensors of every type and layout", () => {
  const before = liveTensors();
  scope(() => {
    const grid = tensor([[1, -2.5], [3, 4], [0.25, 6]]); // biome-ignore format: rows
    const record: TorchRecord = {
      scale: 2.6592,
      large: -1e300,
      visual_projection: { weight: grid, "with.dot": { turned: grid.transpose(0, 1) } },
      none: tensor([]),
      one: tensor(7, { dtype: "float64" }),
      ...Object.fromEntries(
        (["float16", "bfloat16", "int64", "uint8", "bool"] as const).map((dtype) => [
          dtype,
          tensor([0, 1, 1], { dtype }),
        ]),
      ),
      empty: {},
    };
    writeTorchRecord(path, record);
    expect(plain(readTorchRecord(path))).toEqual(plain(record));
  });
  expect(liveTensors()).toBe(before);
});

test("a record of tensors alone is a state dict", () => {
  scope(() => {
    writeTorchRecord(path, { weight: tensor([1, 2]), bias: tensor([3]) });
    using file = openTorchFile(path);
    expect(file.keys()).toEqual(["weight", "bias"]);
    expect(file.get("weight").toNumbers()).toEqual([1, 2]);
  });
});

test("reading passes over what is neither a dict, a number nor a tensor", () => {
  const items = { a: opcodes.text("word"), b: opcodes.int(3), c: opcodes.yes, d: opcodes.emptyTuple };
  writeFileSync(path, zipFile(pickleDict(items), {}));
  expect(readTorchRecord(path)).toEqual({ b: 3 });
});

test("a dict that holds itself is refused", () => {
  const [put, get] = [
    [0x71, 0],
    [0x68, 0],
  ]; // BINPUT, BINGET
  const { proto, dict, mark, text, setItems, stop } = opcodes;
  const pickle = [proto, dict, put, mark, text("self"), get, setItems, stop].flat();
  writeFileSync(path, zipFile(Uint8Array.from(pickle), {}));
  expect(() => readTorchRecord(path)).toThrow(/more than 8 deep/);
});

test("what is no dict is refused", () => {
  writeFileSync(path, zipFile(Uint8Array.from([...opcodes.proto, ...opcodes.int(1), ...opcodes.stop]), {}));
  expect(() => readTorchRecord(path)).toThrow(/holds no dict/);
});
