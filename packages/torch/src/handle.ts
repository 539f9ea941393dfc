// How handles from the engine become Tensors. Apart from tensor.ts only because the generated operators, which Tensor extends, need it.
import type { Tensor } from "./tensor.js";

let construct: (handle: number) => Tensor;

export function setTensorConstructor(make: (handle: number) => Tensor): void {
  construct = make;
}

export const handleOf = (tensor: Tensor): number => tensor.handle;

export const wrap = (handle: unknown): Tensor => construct(handle as number);

export const wrapAll = (handles: unknown): Tensor[] => (handles as number[]).map(construct);
