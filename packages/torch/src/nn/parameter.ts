import { empty } from "../ops.gen.js";
import { keep } from "../scope.js";
import type { Tensor } from "../tensor.js";

/** A parameter of the given shape for a module's field: float32, without values until it is loaded or initialised. */
export function parameter(shape: readonly number[]): Tensor {
  return keep(empty(shape, { device: "meta" }));
}

/** Gives a parameter other memory; whether it learns stays. `value` is disposed of. */
export function replace(parameter: Tensor, value: Tensor): void {
  const learns = parameter.requiresGrad;
  parameter.assign(value);
  value.dispose();
  if (learns) parameter.requiresGrad = true;
}
