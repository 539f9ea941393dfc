import { checkNumber } from "../arguments.js";
import { noGrad } from "../modes.js";
import { _foreachMul_, _foreachNorm, stack } from "../ops.gen.js";
import { scope } from "../scope.js";
import type { Tensor } from "../tensor.js";
import { checkParameters } from "./optimizer.js";

/**
 * Scales all gradients by min(1, maxNorm / (‖g‖₂ + 1e-6)), the norm over all parameters together; gives the norm before that.
 *
 * `Infinity` only measures. A norm that is not finite leaves the gradients alone, for the caller to decide.
 */
export function clipGradNorm(parameters: readonly Tensor[], maxNorm: number): number {
  checkParameters("clipGradNorm", parameters);
  checkNumber("clipGradNorm", "maxNorm", maxNorm);
  return noGrad(() =>
    scope(() => {
      const gradients = parameters.map((p) => p.grad).filter((g) => g !== undefined);
      if (gradients.length === 0) return 0;
      const norm = stack(_foreachNorm(gradients, 2)).linalgVectorNorm().item();
      const scale = maxNorm / (norm + 1e-6);
      if (Number.isFinite(norm) && scale < 1) _foreachMul_(gradients, scale);
      return norm;
    }),
  );
}
