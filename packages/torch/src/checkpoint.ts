// Gradient checkpointing: memory for time.
import { type Handle, native } from "@spo/native";
import type { Generator } from "./generator.js";
import { handlesOf, wrap } from "./handle.js";
import { notAPromise, type Sync, scope } from "./scope.js";
import type { Tensor } from "./tensor.js";

let again = false;

/** @internal Whether a checkpoint's function is being computed for the second time. */
export const isRecomputing = (): boolean => again;

/** What a function threw when it was computed again, until the engine has come back from backward. */
let failure: unknown;

/**
 * Returns `fn(...inputs)`, and of what backward needs inside it keeps only the inputs. When backward comes there, `fn` is called again with
 * tensors of the same values. Gradients are bit-equal on every device whose operators give the same bits twice.
 *
 * `fn` must do the same work both times. It may read parameters, which get their gradients as usual. Every other tensor has to be among the
 * inputs, because it may be disposed of by the time of the second run. The state of `generators`, which `fn` draws from, is put back for
 * the second run and restored after it; so are the modes, autocast among them. No tensor that `fn` saves may be changed in place later.
 *
 * The second run ends as soon as all saved tensors are there. `backward` throws what it throws. Inside another checkpoint `fn` is called as
 * it is: the outermost one decides. Without a graph, as under `noGrad`, this is a plain call.
 * Source: Chen et al. 2016; PyTorch's `checkpoint(use_reentrant=False)`.
 */
export function checkpoint<T>(
  fn: (...inputs: Tensor[]) => Sync<T>,
  inputs: readonly Tensor[],
  { generators = [] }: { generators?: readonly Generator[] } = {},
): T {
  return scope(() => {
    const states = generators.map((generator) => generator.state());
    const rerun = (handles: readonly Handle[]): boolean => {
      const outer = again;
      again = true;
      try {
        scope(() => {
          const tensors = handles.map(wrap);
          const run = () => void fn(...tensors.slice(0, inputs.length));
          withStates(generators, tensors.slice(inputs.length), run);
        });
        return true;
      } catch (error) {
        failure = error;
        return false;
      } finally {
        again = outer;
      }
    };
    let result: T | undefined;
    native.checkpoint(handlesOf([...inputs, ...states], "checkpoint", "inputs"), rerun, () => {
      result = notAPromise(fn(...inputs), "checkpoint") as T;
    });
    return result as Sync<T>;
  });
}

/** Runs `fn` with generators in earlier states, and puts back those that they are in. */
function withStates(generators: readonly Generator[], states: readonly Tensor[], fn: () => void): void {
  const present = generators.map((generator) => generator.state());
  for (const [i, generator] of generators.entries()) generator.setState(states[i] as Tensor);
  try {
    fn();
  } finally {
    for (const [i, generator] of generators.entries()) generator.setState(present[i] as Tensor);
  }
}

/** @internal Runs the engine's backward. An error of a checkpoint's function is thrown as the function threw it. */
export function throughEngine<T>(backward: () => T): T {
  try {
    return backward();
  } catch (error) {
    throw (error as Error).message === "the function of a checkpoint failed" ? failure : error;
  } finally {
    failure = undefined;
  }
}
