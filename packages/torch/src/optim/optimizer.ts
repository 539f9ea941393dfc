import { wrongArgument } from "../arguments.js";
import { handlesOf } from "../handle.js";
import type { Tensor } from "../tensor.js";

/** Throws a TypeError for what is no list of Tensors: a module in place of its parameters, say. */
export function checkParameters(where: string, parameters: readonly Tensor[]): void {
  if (
    !Array.isArray(parameters) &&
    typeof (parameters as { parameters?: unknown })?.parameters === "function"
  )
    throw wrongArgument(
      where,
      "parameters",
      "a list of Tensors, as module.parameters() gives it",
      parameters,
    );
  handlesOf(parameters, where, "parameters");
}

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
