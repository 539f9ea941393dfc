import { closeSync, openSync, readSync } from "node:fs";
import { native } from "@spo/native";
import { type Device, type DType, elementSize } from "../dtype.js";
import { UserError } from "../errors.js";
import { requireSpace, writeFileAtomic } from "../files.js";
import { scope } from "../scope.js";
import type { Tensor } from "../tensor.js";
import { decodeFloat8, type Float8 } from "./float8.js";
import { MappedFile } from "./mapped-file.js";

const NAMES: Record<string, DType> = {
  F64: "float64",
  F32: "float32",
  F16: "float16",
  BF16: "bfloat16",
  I64: "int64",
  I32: "int32",
  I16: "int16",
  I8: "int8",
  U8: "uint8",
  BOOL: "bool",
};
const CODES = Object.fromEntries(Object.entries(NAMES).map(([code, dtype]) => [dtype, code])) as Record<
  DType,
  string
>;

/** 8-bit types that a file may have. They are read as bfloat16, and never written. */
const FLOAT8: Readonly<Record<string, Float8>> = {
  F8_E4M3: "float8_e4m3fn",
  F8_E5M2: "float8_e5m2",
  F8_E4M3FNUZ: "float8_e4m3fnuz",
  F8_E5M2FNUZ: "float8_e5m2fnuz",
  F8_E8M0: "float8_e8m0fnu",
};

const MAX_HEADER = 100_000_000;

/** Names and values that a header may have at all depths, which keeps the time to refuse one under a second: some 50,000 tensors. */
const MAX_NAMES = 200_000;
const MAX_VALUES = 2_000_000;
/** Brackets within brackets. The format has three; `JSON.parse` spends some 70 bytes on each. */
const MAX_DEPTH = 16;

export interface TensorInfo {
  /** Of the tensor that is read: bfloat16 where the file has eight bits a number. */
  dtype: DType;
  /** What the file has, where it is of eight bits. */
  float8?: Float8;
  shape: readonly number[];
  /** First byte in the file. */
  offset: number;
  nbytes: number;
}

/** A mapped file: nothing is read before it is used, and tensors of it share its memory (writes stay private to the process). */
export class SafetensorsFile {
  readonly path: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** Where its tensors go. */
  readonly device: Device;
  readonly #file: MappedFile;
  readonly #infos: ReadonlyMap<string, TensorInfo>;

  /** @internal Use `openSafetensors`. */
  constructor(
    file: MappedFile,
    metadata: Readonly<Record<string, string>>,
    infos: ReadonlyMap<string, TensorInfo>,
    device: Device,
  ) {
    this.path = file.path;
    this.device = device;
    this.metadata = metadata;
    this.#file = file;
    this.#infos = infos;
  }

  keys(): string[] {
    return [...this.#infos.keys()];
  }

  has(name: string): boolean {
    return this.#infos.has(name);
  }

  info(name: string): TensorInfo {
    const info = this.#infos.get(name);
    if (!info) throw new UserError(`${this.path} has no tensor ${name}.`, { code: "DATA" });
    return info;
  }

  /**
   * The tensor over the file's memory; of eight bits a number, or on another device, a copy. Copy it before writing to it, if the file is
   * read again.
   */
  get(name: string): Tensor {
    const { offset, dtype, float8, shape } = this.info(name);
    if (!float8 && this.device === "cpu") return this.#file.tensor(offset, dtype, shape);
    return scope(() => {
      const stored = this.#file.tensor(offset, float8 ? "uint8" : dtype, shape);
      return (float8 ? decodeFloat8(stored, float8) : stored).to({ device: this.device });
    });
  }

  /** All tensors by name. */
  tensors(): Map<string, Tensor> {
    return new Map(this.keys().map((name) => [name, this.get(name)]));
  }

  /** @internal The same file with `prefix` left out of every name; this object is not used any more. */
  withoutPrefix(prefix: string): SafetensorsFile {
    const infos = [...this.#infos].map(([name, info]) => [name.slice(prefix.length), info] as const);
    return new SafetensorsFile(this.#file, this.metadata, new Map(infos), this.device);
  }

  /** No more tensors can be taken; those that exist stay valid. */
  close(): void {
    this.#file.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Opens a safetensors file and checks its whole header: sizes, types, bounds, no overlap, no hole, no name twice.
 *
 * device: where its tensors go; they share the file's memory on the CPU alone. Throws a UserError (`DATA`) that says what is wrong with the
 * file. Source: the format's README and reference implementation.
 */
export function openSafetensors(path: string, { device = "cpu" }: { device?: Device } = {}): SafetensorsFile {
  const bad: Bad = (
    why,
    hint = "Copy or download it again; a cut transfer is the usual cause.",
    whole = false,
  ) => {
    const fault = whole ? "" : "not a whole safetensors file: ";
    throw new UserError(`${path}: ${fault}${why}.`, { code: "DATA", hint });
  };
  const file = new MappedFile(path);
  const { size } = file;
  try {
    if (size < 8) bad(`it has ${size} bytes`);
    const length = Number(new DataView(file.bytes(0, 8).buffer).getBigUint64(0, true));
    if (length > MAX_HEADER) bad(`its header claims ${length} bytes`);
    if (8 + length > size) bad(`its header claims ${length} bytes, the file has ${size}`);
    const header = parseHeader(headerOf(path, length), bad);
    const start = 8 + length;
    const metadata: Record<string, string> = {};
    const infos = new Map<string, TensorInfo>();
    for (const [name, entry] of header) {
      if (name === "__metadata__") {
        if (entry === null) continue; // as the reference implementation: no metadata
        if (!isRecord(entry)) bad("its metadata is no object");
        for (const [key, value] of Object.entries(entry as object)) {
          if (typeof value !== "string") bad(`metadata ${key} is no string`);
          metadata[key] = value as string;
        }
        continue;
      }
      infos.set(name, readInfo(name, entry, start, bad));
    }
    let end = start;
    for (const [name, info] of [...infos].sort(
      ([, a], [, b]) => a.offset - b.offset || a.nbytes - b.nbytes,
    )) {
      if (info.offset !== end)
        bad(`${name} starts at byte ${info.offset - start}, expected ${end - start} (a hole or an overlap)`);
      end += info.nbytes;
    }
    if (end !== size) bad(`its tensors end at byte ${end}, the file has ${size}`);
    return new SafetensorsFile(file, metadata, infos, device);
  } catch (error) {
    file.close();
    throw error;
  }
}

/** All tensors of a file, by name. They share the file's memory. */
export function readSafetensors(path: string): Map<string, Tensor> {
  using file = openSafetensors(path);
  return file.tensors();
}

/**
 * Writes a whole file or none: to a temporary name, synced, renamed. Tensors in the order given, 8-byte aligned.
 *
 * The same tensors and metadata give the same bytes.
 */
export function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, Tensor> | Readonly<Record<string, Tensor>>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  const { bytes, chunks } = safetensorsContents(tensors, metadata);
  requireSpace(path, bytes);
  writeFileAtomic(path, chunks);
}

/** What `writeSafetensors` writes: how many bytes, and the bytes, which are copied from the tensors as they are taken. */
export function safetensorsContents(
  tensors: ReadonlyMap<string, Tensor> | Readonly<Record<string, Tensor>>,
  metadata: Readonly<Record<string, string>> = {},
): { bytes: number; chunks: Iterable<Uint8Array> } {
  const entries = inFileOrder(tensors);
  const header: Record<string, unknown> = Object.create(null);
  if (Object.keys(metadata).length > 0) header.__metadata__ = metadata;
  if (entries.some(({ name }) => name === "__metadata__")) {
    throw new TypeError("a tensor cannot be named __metadata__: the format keeps that name for itself");
  }
  let offset = 0;
  for (const { name, dtype, shape } of entries) {
    const nbytes = shape.reduce((a, b) => a * b, elementSize(dtype));
    header[name] = { dtype: CODES[dtype], shape, data_offsets: [offset, offset + nbytes] };
    offset += nbytes;
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const padded = new Uint8Array(Math.ceil(json.length / 8) * 8).fill(0x20);
  padded.set(json);
  const prefix = new Uint8Array(8);
  new DataView(prefix.buffer).setBigUint64(0, BigInt(padded.length), true);
  return {
    bytes: prefix.length + padded.length + offset,
    chunks: (function* () {
      yield prefix;
      yield padded;
      for (const { tensor } of entries) yield bytesOf(tensor);
    })(),
  };
}

/** The bytes of tensors one after the other, as a file of them holds behind its header: what a hash of its contents is taken over. */
export function* tensorBytes(tensors: ReadonlyMap<string, Tensor>): Generator<Uint8Array> {
  for (const { tensor } of inFileOrder(tensors)) yield bytesOf(tensor);
}

/** Wider types first, as the reference does: then every tensor is aligned to its own width. */
function inFileOrder(
  tensors: ReadonlyMap<string, Tensor> | Readonly<Record<string, Tensor>>,
): { name: string; tensor: Tensor; dtype: DType; shape: readonly number[] }[] {
  return (
    tensors instanceof Map
      ? [...(tensors as ReadonlyMap<string, Tensor>)]
      : Object.entries(tensors as Record<string, Tensor>)
  )
    .map(([name, tensor]) => ({ name, tensor, dtype: tensor.dtype, shape: tensor.shape }))
    .sort(
      (a, b) =>
        elementSize(b.dtype) - elementSize(a.dtype) || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0),
    );
}

/** @internal The elements of a tensor, row by row, as files have them. */
export function bytesOf(tensor: Tensor): Uint8Array {
  const plain = tensor.device === "cpu" ? undefined : tensor.detach().to({ device: "cpu" });
  const bytes = new Uint8Array(native.copyOut((plain ?? tensor).handle));
  plain?.dispose();
  return bytes;
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Read, and not copied from the mapping: with a header of 100 MB both copies would stay in memory. */
function headerOf(path: string, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const file = openSync(path, "r");
  try {
    for (let at = 0; at < length; ) {
      const count = readSync(file, bytes, at, length - at, 8 + at);
      if (count === 0) break; // cut meanwhile: what is missing is then no JSON
      at += count;
    }
  } finally {
    closeSync(file);
  }
  return bytes;
}

/** whole: the file is complete but not understood. */
type Bad = (why: string, hint?: string, whole?: boolean) => never;

function parseHeader(bytes: Uint8Array, bad: Bad): [string, unknown][] {
  if (bytes[0] !== 0x7b) bad("its header does not start with {");
  const counted = countHeader(bytes);
  if (counted.depth > MAX_DEPTH) bad(`its header is nested more than ${MAX_DEPTH} deep`);
  if (counted.names > MAX_NAMES || counted.commas > MAX_VALUES)
    bad(
      `its header lists ${counted.topNames} tensors and ${counted.names} names, more than a checkpoint has`,
      "If it is one, write it as several files, each of at most 50,000 tensors.",
    );
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return bad("its header is not UTF-8");
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return bad("its header is not JSON");
  }
  if (!isRecord(parsed)) return bad("its header is no object");
  const entries = Object.entries(parsed);
  // JSON.parse keeps the last of two equal names; a file that has them is refused, since readers would disagree on its contents.
  if (entries.length !== counted.topNames) bad(`a name stands twice in its header`);
  return entries;
}

/** Names at the first level and at all levels, commas, and the greatest depth of a JSON object. For text that is no JSON, any numbers. */
function countHeader(bytes: Uint8Array): { topNames: number; names: number; commas: number; depth: number } {
  const counts = { topNames: 0, names: 0, commas: 0, depth: 0 };
  let depth = 0;
  for (let at = 0; at < bytes.length; at++) {
    switch (bytes[at]) {
      case 0x7b: // {
      case 0x5b: // [
        counts.depth = Math.max(counts.depth, ++depth);
        break;
      case 0x7d: // }
      case 0x5d: // ]
        depth--;
        break;
      case 0x3a: // :
        counts.names++;
        if (depth === 1) counts.topNames++;
        break;
      case 0x2c: // ,
        counts.commas++;
        break;
      case 0x22: // a string, to its closing quote
        for (at++; at < bytes.length && bytes[at] !== 0x22; at++) if (bytes[at] === 0x5c) at++;
    }
  }
  return counts;
}

function readInfo(name: string, entry: unknown, start: number, bad: Bad): TensorInfo {
  if (!isRecord(entry)) return bad(`${name} is no object`);
  const found = (types: Readonly<Record<string, string>>): string | undefined =>
    typeof entry.dtype === "string" && Object.hasOwn(types, entry.dtype) ? types[entry.dtype] : undefined;
  const float8 = found(FLOAT8) as Float8 | undefined;
  const dtype = float8 ? "bfloat16" : (found(NAMES) as DType | undefined);
  if (!dtype)
    return bad(
      typeof entry.dtype === "string"
        ? `${name} has the dtype ${entry.dtype.slice(0, 40)}, which is not supported`
        : `${name} has no dtype`,
      `Supported: ${[...Object.keys(NAMES), ...Object.keys(FLOAT8)].join(", ")}. Ask for the weights in one of these.`,
      true,
    );
  const shape = entry.shape;
  const offsets = entry.data_offsets;
  const isSize = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 0;
  if (!Array.isArray(shape) || !shape.every(isSize)) return bad(`${name} has no proper shape`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize))
    return bad(`${name} has no proper data_offsets`);
  const [begin, end] = offsets as [number, number];
  // Also where a zero makes the whole product zero: the engine multiplies the other sizes for its strides.
  let nbytes = float8 ? 1 : elementSize(dtype);
  let apart = nbytes;
  for (const size of shape) {
    nbytes *= size;
    apart *= Math.max(1, size);
    if (!Number.isSafeInteger(apart)) return bad(`${name} has a shape that is too large`);
  }
  if (end - begin !== nbytes) return bad(`${name} needs ${nbytes} bytes and has ${end - begin}`);
  return { dtype, ...(float8 && { float8 }), shape, offset: start + begin, nbytes };
}
