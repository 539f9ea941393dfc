import { expect, test } from "vitest";
import { crc32c, tfFileStart, tfSummary } from "./tf-events.js";

test("check sums are those of the standard's examples", () => {
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
  expect(crc32c(new Uint8Array(32).fill(255))).toBe(0x62a8ab43);
  expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
});

test("records have the bytes that TensorBoard's own writer gives", () => {
  // Of tensorboard 2.21's RecordWriter, and Event(wall_time=1.5, file_version="brain.Event:2").
  expect(Buffer.from(tfFileStart(1.5)).toString("hex")).toBe(
    "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c",
  );
  // Of Event(wall_time=2, step=300) with loss = 0.5.
  expect(Buffer.from(tfSummary(2, 300, [{ tag: "loss", value: 0.5 }])).toString("hex")).toBe(
    "1b000000000000001a0d9e1309000000000000004010ac022a0d0a0b0a046c6f7373150000003fdfc52b60",
  );
});
