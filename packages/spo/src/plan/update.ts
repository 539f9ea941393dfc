// What every training does with its gradients.
import { type Optimizer, scope, type Tensor, zerosLike } from "@spo/torch";
import type { Phase } from "./job.js";

/** Gradients of the parts of a batch that came before, to which the next part's are added. */
export function earlierGradients(trained: readonly Tensor[]): void {
  scope(() => {
    for (const parameter of trained) parameter.grad = zerosLike(parameter);
  });
}

export function dropGradients(trained: readonly Tensor[]): void {
  for (const parameter of trained) parameter.grad = undefined;
}

/** One step of the optimizer. It makes no tensors worth the name, and on `meta` it has nothing to compute. */
export const optimizerPhase = (trained: readonly Tensor[], optimizer: Optimizer, runs: number): Phase => ({
  name: "optimizer",
  runs,
  passes: {},
  body: () => {
    earlierGradients(trained);
    if (trained[0]?.device !== "meta") optimizer.step();
    dropGradients(trained);
  },
});
