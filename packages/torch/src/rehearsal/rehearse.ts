// What a computation would cost, found by doing it on the `meta` device: there tensors have shapes and no values.
import { native } from "@spo/native";
import { isRecomputing } from "../checkpoint.js";
import { interceptCalls } from "./intercept-calls.js";
import { standIns } from "./rehearse-stand-ins.js";

/** Pairs of numbers: a block, negative where another thread did it, and its bytes, negative where it was freed. */
export type MemoryBook = Float64Array;

/** What a function returned on `meta`, and what it would cost. */
export interface Rehearsal<T> {
  value: T;
  /** Bytes over what was alive before. */
  bytes: {
    /** The most at any moment: tensors, what autograd keeps, and the working copies that convolutions make on a CPU. */
    peak: number;
    /** What is still held at the end. */
    left: number;
  };
  /** What was allocated and freed, in order. */
  book: MemoryBook;
  /** Floating-point operations of convolutions, matrix products and attention; a multiplication and its addition are two. */
  flops: {
    forward: number;
    /** Of the gradients that a `backward` of all that was computed has to find. */
    backward: number;
  };
}

const op = (name: string, overload = ""): number => native.op(`aten::${name}`, overload);
const CONV = op("conv2d");
const LINEAR = op("linear");
const [INT8_CONV, INT8_LINEAR] = [native.op("spo::int8_conv2d", ""), native.op("spo::int8_linear", "")];
const ATTENTION = op("scaled_dot_product_attention");
const PRODUCTS = new Set([op("matmul"), op("mm"), op("bmm")]);

/**
 * Runs `fn`, whose tensors must be on `meta`, and books what the same work needs on a CPU. The memory of a `backward` in it is counted. Its
 * operations are taken from the forward's, layer by layer: as many again for the input's gradient and for the weight's, where each is
 * wanted.
 */
export function rehearse<T>(fn: () => T): Rehearsal<T> {
  const flops = { forward: 0, backward: 0 };
  using _counting = interceptCalls((call) => (index, ...rest) => {
    const result = standIns.get(index)?.(call, rest) ?? call(index, ...rest);
    const inputs = rest as number[];
    const work = workOf(index, inputs, result as number);
    if (work === 0) return result;
    flops.forward += work;
    // What a checkpoint computes again is forward work again, and its gradients are those of the first time.
    if (!isRecomputing() && native.requiresGrad(result as number)) {
      // Attention finds its weights again, and then the gradients of both its products.
      const sides = inputs.slice(0, 2).filter((handle) => native.requiresGrad(handle)).length;
      flops.backward += index === ATTENTION ? 2.5 * work : sides * work;
    }
    return result;
  });
  native.metaBook(true);
  let value: T;
  let book: MemoryBook;
  try {
    value = fn();
  } finally {
    book = new Float64Array(native.metaBook(false));
  }
  let [alive, peak] = [0, 0];
  for (let i = 1; i < book.length; i += 2) {
    alive += book[i] as number;
    peak = Math.max(peak, alive);
  }
  return { value, bytes: { peak, left: alive }, flops, book };
}

/** Operations of one call. */
function workOf(index: number, inputs: readonly number[], result: number): number {
  const sizes = (at: number): readonly number[] => native.sizes(inputs[at] as number);
  if (index === CONV || index === INT8_CONV) {
    const [, channels, height, width] = sizes(1) as [number, number, number, number];
    return 2 * count(native.sizes(result)) * channels * height * width;
  }
  if (index === LINEAR || index === INT8_LINEAR)
    return 2 * count(native.sizes(result)) * (sizes(0).at(-1) as number);
  if (PRODUCTS.has(index)) return 2 * count(native.sizes(result)) * (sizes(0).at(-1) as number);
  if (index === ATTENTION) return 4 * count(sizes(0)) * (sizes(1).at(-2) as number);
  return 0;
}

const count = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
