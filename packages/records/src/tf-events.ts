// The file format of TensorBoard: records with check sums, each a protocol buffer. Source: tensorflow/core/util/event.proto,
// tensorflow/core/framework/summary.proto, tensorflow/core/lib/io/record_writer.h. By hand, because no kept library writes it.
import { Buffer } from "node:buffer";

/** What a chart or a row of pictures gets at a step. */
export type TfValue =
  | { tag: string; value: number }
  | { tag: string; png: Uint8Array; width: number; height: number };

/** The record that a file begins with. wallTime: seconds since 1970. */
export const tfFileStart = (wallTime: number): Buffer =>
  record([fixed64(1, wallTime), text(3, "brain.Event:2")]);

/** A process begins: what files before this one say of `step` and later is void. */
export const tfSessionStart = (wallTime: number, step: number): Buffer =>
  record([fixed64(1, wallTime), whole(2, step), bytes(7, whole(1, 1))]);

/** Values of a step. NaN and infinities are shown as such. */
export function tfSummary(wallTime: number, step: number, values: readonly TfValue[]): Buffer {
  const summary = Buffer.concat(values.map((value) => bytes(1, fieldsOf(value))));
  return record([fixed64(1, wallTime), whole(2, step), bytes(5, summary)]);
}

/** Of three colours. */
const RGB = 3;

function fieldsOf(value: TfValue): Buffer {
  const tag = text(1, value.tag);
  if ("value" in value) {
    const number = Buffer.alloc(5);
    number[0] = (2 << 3) | 5;
    number.writeFloatLE(value.value, 1);
    return Buffer.concat([tag, number]);
  }
  const { png, width, height } = value;
  const image = Buffer.concat([whole(1, height), whole(2, width), whole(3, RGB), bytes(4, png)]);
  return Buffer.concat([tag, bytes(4, image)]);
}

function record(fields: readonly Buffer[]): Buffer {
  const data = Buffer.concat(fields);
  const head = Buffer.alloc(12);
  head.writeBigUInt64LE(BigInt(data.length));
  head.writeUInt32LE(masked(crc32c(head.subarray(0, 8))), 8);
  const end = Buffer.alloc(4);
  end.writeUInt32LE(masked(crc32c(data)));
  return Buffer.concat([head, data, end]);
}

function varint(value: number): Buffer {
  const found: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...found, rest]);
    found.push((rest % 128) | 128);
  }
}

const whole = (field: number, value: number): Buffer => Buffer.concat([varint(field << 3), varint(value)]);

const bytes = (field: number, value: Uint8Array): Buffer =>
  Buffer.concat([varint((field << 3) | 2), varint(value.length), value]);

const text = (field: number, value: string): Buffer => bytes(field, Buffer.from(value));

function fixed64(field: number, value: number): Buffer {
  const found = Buffer.alloc(9);
  found[0] = (field << 3) | 1;
  found.writeDoubleLE(value, 1);
  return found;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, i) => {
  let value = i;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value;
});

/** Castagnoli's check sum. Source: RFC 3720, appendix B.4. */
export function crc32c(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) crc = (TABLE[(crc ^ byte) & 255] as number) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** As TensorBoard stores a check sum: turned by 15 bits, and a constant added. */
const masked = (crc: number): number => ((((crc >>> 15) | (crc << 17)) >>> 0) + 0xa282ead8) >>> 0;
