/** Element types by the names that PyTorch prints. */
export type DType =
  | "uint8"
  | "int8"
  | "int16"
  | "int32"
  | "int64"
  | "float16"
  | "float32"
  | "float64"
  | "bool"
  | "bfloat16";

/** Where the elements live: `"cpu"`, `"cuda:0"`, `"mps"`, or `"meta"` (shapes without memory). */
export type Device = string;

/** How a tensor's elements lie in memory. */
export type MemoryFormat = "contiguous" | "preserve" | "channels_last";

// c10::ScalarType's numbers.
const CODES: Record<DType, number> = {
  uint8: 0,
  int8: 1,
  int16: 2,
  int32: 3,
  int64: 4,
  float16: 5,
  float32: 6,
  float64: 7,
  bool: 11,
  bfloat16: 15,
};

const NAMES = new Map(Object.entries(CODES).map(([name, code]) => [code, name as DType]));

const WIDTHS: Record<DType, number> = {
  uint8: 1,
  int8: 1,
  int16: 2,
  int32: 4,
  int64: 8,
  float16: 2,
  float32: 4,
  float64: 8,
  bool: 1,
  bfloat16: 2,
};

/** Bytes of one element. */
export const elementSize = (dtype: DType): number => WIDTHS[dtype];

/** Whether elements are floating-point numbers. */
export function isFloating(dtype: DType): boolean {
  return dtype === "float32" || dtype === "float64" || dtype === "float16" || dtype === "bfloat16";
}

export function dtypeCode(dtype: DType): number {
  const code = CODES[dtype];
  if (code === undefined) throw new TypeError(`unknown dtype ${String(dtype)}`);
  return code;
}

export function dtypeName(code: number): DType {
  const name = NAMES.get(code);
  if (!name) throw new TypeError(`dtype ${anyDtypeName(code)} has no name here`);
  return name;
}

// Dtypes that only the engine's own operators make.
const FOREIGN = new Map([
  [8, "complex32"],
  [9, "complex64"],
  [10, "complex128"],
]);

/** Bytes of one element of any dtype that the engine may return; for an unknown one, those of the widest. */
export function elementSizeOfCode(code: number): number {
  const name = NAMES.get(code);
  return name ? WIDTHS[name] : ({ 8: 4, 9: 8 }[code] ?? 16);
}

/** A dtype's name for messages, also of one that `DType` lacks. */
export const anyDtypeName = (code: number): string => NAMES.get(code) ?? FOREIGN.get(code) ?? `dtype ${code}`;

const FORMATS: Record<MemoryFormat, number> = { contiguous: 0, preserve: 1, channels_last: 2 };

export function memoryFormatCode(format: MemoryFormat): number {
  const code = FORMATS[format];
  if (code === undefined) throw new TypeError(`unknown memory format ${String(format)}`);
  return code;
}
