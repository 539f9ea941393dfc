import type { Tensor } from "../tensor.js";

/** What a training loop asks of an optimizer. */
export interface Optimizer {
  lr: number;
  /** One update from the parameters' `grad`. */
  step(): void;
  zeroGrad(): void;
  /** What it remembers, by name. The tensors are the live ones. */
  state(): Map<string, Tensor>;
  dispose(): void;
}
