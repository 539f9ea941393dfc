// Numbers of eight bits, in which large checkpoints are shared. Nothing computes in them: they are read as bfloat16, which holds each
// exactly.
import { noGrad } from "../modes.js";
import { scope } from "../scope.js";
import { type Tensor, tensor } from "../tensor.js";

/** How the eight bits of a number are used. */
interface Float8Format {
  /** Bits of the fraction; the rest but the sign are the exponent's. */
  readonly fraction: number;
  readonly bias: number;
  /** The values of patterns that are exceptions to the rule of sign, exponent and fraction. */
  readonly special: (byte: number) => number | undefined;
}

const NEGATIVE_ZERO = 0x80;

/**
 * fn: all patterns but one of each sign are finite. fnuz: the pattern of negative zero is the only NaN. e8m0: powers of two without a sign.
 * Source: the OCP specification of 8-bit floats 1.0, table 1, and of MX formats 1.0, section 5.4; Noune et al. 2022 for fnuz.
 */
const FORMATS = {
  float8_e4m3fn: {
    fraction: 3,
    bias: 7,
    special: (byte) => ((byte & 0x7f) === 0x7f ? Number.NaN : undefined),
  },
  float8_e5m2: {
    fraction: 2,
    bias: 15,
    special: (byte) => {
      if ((byte & 0x7c) !== 0x7c) return undefined;
      if ((byte & 3) !== 0) return Number.NaN;
      return byte < NEGATIVE_ZERO ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
    },
  },
  float8_e4m3fnuz: {
    fraction: 3,
    bias: 8,
    special: (byte) => (byte === NEGATIVE_ZERO ? Number.NaN : undefined),
  },
  float8_e5m2fnuz: {
    fraction: 2,
    bias: 16,
    special: (byte) => (byte === NEGATIVE_ZERO ? Number.NaN : undefined),
  },
  float8_e8m0fnu: {
    fraction: 0,
    bias: 127,
    special: (byte) => (byte === 0xff ? Number.NaN : 2 ** (byte - 127)),
  },
} as const satisfies Readonly<Record<string, Float8Format>>;

/** The types of eight bits, as PyTorch names them. */
export type Float8 = keyof typeof FORMATS;

export const FLOAT8_TYPES = Object.keys(FORMATS) as readonly Float8[];

export const isFloat8 = (type: string): type is Float8 => Object.hasOwn(FORMATS, type);

/** The number that each of the 256 patterns stands for. */
export function float8Values(type: Float8): Float64Array {
  const { fraction, bias, special }: Float8Format = FORMATS[type];
  return Float64Array.from({ length: 256 }, (_, byte) => {
    const odd = special(byte);
    if (odd !== undefined) return odd;
    const sign = byte < NEGATIVE_ZERO ? 1 : -1;
    const exponent = (byte & 0x7f) >> fraction;
    const rest = (byte & ((1 << fraction) - 1)) / (1 << fraction);
    // Exponent 0 has no leading one.
    return sign * (exponent === 0 ? rest * 2 ** (1 - bias) : (1 + rest) * 2 ** (exponent - bias));
  });
}

/** bytes uint8, of any shape → the numbers that they stand for, bfloat16, exact. */
export function decodeFloat8(bytes: Tensor, type: Float8): Tensor {
  return noGrad(() =>
    scope(() => {
      const table = tensor(Float32Array.from(float8Values(type))).to({ dtype: "bfloat16" });
      return table.indexSelect(0, bytes.reshape([-1]).to({ dtype: "int32" })).reshape([...bytes.shape]);
    }),
  );
}
