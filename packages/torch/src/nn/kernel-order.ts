// The order of a convolution's kernel in memory. Shape and values are the same in both; files hold row-major order.
//
// A CPU convolves maps and kernels in channels-last order without the blocked copies that the other order costs. A file's kernels are
// copied into it when their model is first used, not when it is loaded: copying 2 GB, and getting fresh memory for them, takes most of a
// second.
import { noGrad, outsideInferenceMode } from "../modes.js";
import { scope } from "../scope.js";
import type { Tensor } from "../tensor.js";
import { replace } from "./parameter.js";

/** Kernels that still lie as their file has them, each with all of its model. */
const untouched = new WeakMap<Tensor, readonly Tensor[]>();

/** Puts a convolution kernel into an order, in place. What is no kernel stays as it is. */
export function reorder(parameter: Tensor, memoryFormat: "contiguous" | "channels_last"): void {
  if (parameter.ndim !== 4) return;
  untouched.delete(parameter);
  // In a scope, because a handle left on the old memory (a file's pages, for example) would keep it. The first use may be in inference
  // mode, the next not.
  outsideInferenceMode(() =>
    noGrad(() =>
      replace(
        parameter,
        scope(() => parameter.detach().contiguous({ memoryFormat })),
      ),
    ),
  );
}

/** Puts a CPU's kernel into channels-last order. */
export function reorderForCpu(parameter: Tensor): void {
  if (parameter.ndim === 4 && parameter.device === "cpu") reorder(parameter, "channels_last");
}

/**
 * The same for all parameters of a model, when the first kernel is asked for by {@link inOrder}. All at once: the copies then lie side by
 * side, and not between the maps of a pass, whose memory would be left in pieces too small for the next.
 */
export function reorderLater(parameters: readonly Tensor[]): void {
  const kernels = parameters.filter(({ ndim, device }) => ndim === 4 && device === "cpu");
  for (const kernel of kernels) untouched.set(kernel, kernels);
}

/** A parameter to compute with. Whoever reads a kernel's memory, and does not only copy its values, asks for it here. */
export function inOrder(parameter: Tensor): Tensor {
  for (const kernel of untouched.get(parameter) ?? []) {
    if (untouched.delete(kernel) && !kernel.isDisposed) reorderForCpu(kernel);
  }
  return parameter;
}
