import { parquetWriteBuffer } from "hyparquet-writer";
import { expect, test } from "vitest";
import { requireBoundedThrift } from "./thrift-bounds.js";

const walk = (...bytes: number[]): (() => void) => {
  return () => requireBoundedThrift(Uint8Array.from(bytes));
};

test("the metadata of a whole file passes, and of each cut of it none", () => {
  const columnData = [
    { name: "caption", data: ["a", "b"], type: "STRING" as const },
    { name: "label_0", data: [1, 0], type: "DOUBLE" as const },
    { name: "has_label", data: [true, false], type: "BOOLEAN" as const },
  ];
  const file = new Uint8Array(parquetWriteBuffer({ columnData }));
  const length = new DataView(file.buffer).getUint32(file.length - 8, true);
  const metadata = file.subarray(file.length - 8 - length, file.length - 8);
  expect(length).toBeGreaterThan(100);
  requireBoundedThrift(metadata);
  for (let end = 0; end < metadata.length; end++)
    expect(() => requireBoundedThrift(metadata.subarray(0, end)), `${end}`).toThrow(/its metadata/);
});

test("what claims more than there is, is refused before room is made for it", () => {
  walk(0x19, 0x25, 2, 4, 0)(); // a list of two numbers
  walk(0x19, 0x21, 1, 2, 0)(); // of two truth values
  expect(walk(0x19, 0x35, 2, 4, 0)).toThrow(/ends too soon|claims more/);
  expect(walk(0x19, 0xf5, 0xff, 0xff, 0xff, 0x0f, 0)).toThrow(/claims more than there is/);
  expect(walk(0x18, 0xff, 0xff, 0xff, 0xff, 0x0f, 0)).toThrow(/claims more than there is/);
  expect(walk(0x1b, 0)).toThrow(/damaged/); // a map: parquet has none
  expect(walk(0x16, ...Array.from({ length: 12 }, () => 0xff), 0)).toThrow(/damaged/);
  expect(walk(...Array.from({ length: 1000 }, () => 0x1c))).toThrow(/too deeply/);
});
