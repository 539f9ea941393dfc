// What a computation would cost, found by doing it on the `meta` device: there tensors have shapes and no values.
import { native } from "@spo/native";
import { isRecomputing } from "./checkpoint.js";
import { dtypeName, elementSize } from "./dtype.js";
import { standIns } from "./rehearse-stand-ins.js";

/** What a function gave on `meta`, and what it would take. */
export interface Rehearsal<T> {
  value: T;
  /** Bytes over what was alive before. */
  bytes: {
    /** The most at any moment: tensors, what autograd keeps, and the working copies that convolutions make on a CPU. */
    peak: number;
    /** What is still held at the end. */
    left: number;
  };
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
const ATTENTION = op("scaled_dot_product_attention");
const PRODUCTS = new Set([op("matmul"), op("mm"), op("bmm")]);

/**
 * Runs `fn`, whose tensors must be on `meta`, and books what the same work needs on a CPU. A `backward` in it counts in memory; its
 * operations are told by the forward's, layer by layer: as many again for the input's gradient and for the weight's, where each is wanted.
 */
export function rehearse<T>(fn: () => T): Rehearsal<T> {
  const [before] = native.metaMemory(true);
  const flops = { forward: 0, backward: 0 };
  let peak = before;
  const call = native.call;
  native.call = (index, ...rest) => {
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
    if (index === CONV) {
      const [alive] = native.metaMemory(false);
      peak = Math.max(peak, alive + scratchOf(inputs, result as number));
    }
    return result;
  };
  try {
    const value = fn();
    const [after, most] = native.metaMemory(false);
    return { value, bytes: { peak: Math.max(peak, most) - before, left: after - before }, flops };
  } finally {
    native.call = call;
  }
}

/** Operations of one call. */
function workOf(index: number, inputs: readonly number[], result: number): number {
  const sizes = (at: number): readonly number[] => native.sizes(inputs[at] as number);
  if (index === CONV) {
    const [, channels, height, width] = sizes(1) as [number, number, number, number];
    return 2 * count(native.sizes(result)) * channels * height * width;
  }
  if (index === LINEAR) return 2 * count(native.sizes(result)) * (sizes(0).at(-1) as number);
  if (PRODUCTS.has(index)) return 2 * count(native.sizes(result)) * (sizes(0).at(-1) as number);
  if (index === ATTENTION) return 4 * count(sizes(0)) * (sizes(1).at(-2) as number);
  return 0;
}

/**
 * Copies that oneDNN makes for one convolution and drops again: the weight in its own order, and unless channels come last, input and
 * output too. A single thread's 1×1 convolution is a matrix product without copies.
 */
function scratchOf([input, weight]: readonly number[], result: number): number {
  const shape = native.sizes(weight as number);
  const plain = shape[2] === 1 && shape[3] === 1 && (native.sizes(input as number)[0] as number) < 16;
  if (plain && native.threads() === 1) return 0;
  const channelsLast = native.strides(input as number)[1] === 1;
  return bytesOf(weight as number) + (channelsLast ? 0 : bytesOf(input as number) + bytesOf(result));
}

const count = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
const bytesOf = (handle: number): number =>
  count(native.sizes(handle)) * elementSize(dtypeName(native.dtype(handle)));
