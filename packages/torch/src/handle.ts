// How Tensors become the engine's handles, and handles Tensors. It is not in tensor.ts only because the generated operators need it, and
// Tensor extends them.
import { wrongArgument } from "./arguments.js";
import type { Tensor } from "./tensor.js";

let Constructor: new (handle: number) => Tensor;

export function setTensorConstructor(made: new (handle: number) => Tensor): void {
  Constructor = made;
}

export const isTensor = (value: unknown): value is Tensor => value instanceof Constructor;

/** The handle of a Tensor. Throws a TypeError for anything else, which names operator and argument. wanted: what the argument may be. */
export function handleOf(value: Tensor, operator: string, argument: string, wanted = "a Tensor"): number {
  if (value instanceof Constructor) return value.handle;
  throw wrongArgument(operator, argument, wanted, value);
}

/** As `handleOf`, of an argument that may be left out. */
export function handleIfAny(
  value: Tensor | null | undefined,
  operator: string,
  argument: string,
): number | null | undefined {
  return value === null || value === undefined ? value : handleOf(value, operator, argument);
}

/** As `handleOf`, of a list. */
export function handlesOf(values: readonly Tensor[], operator: string, argument: string): number[] {
  if (!Array.isArray(values)) throw wrongArgument(operator, argument, "a list of Tensors", values);
  return values.map((value: Tensor, i) => handleOf(value, operator, `${argument}[${i}]`));
}

/** The Tensor that a method is called on. */
export function tensorOf(value: Tensor, operator: string): Tensor {
  handleOf(value, operator, "self");
  return value;
}

export const wrap = (handle: unknown): Tensor => new Constructor(handle as number);

export const wrapAll = (handles: unknown): Tensor[] => (handles as number[]).map(wrap);
