import { scope, type Tensor } from "@spo/torch";

/** A Diffusion-DPO loss with its parts, n pairs. */
export interface DpoLoss {
  loss: Tensor;
  /** [n] one per pair. */
  perSample: Tensor;
  /** [n] −½·β·Δ, the argument of the sigmoid; positive where the policy prefers the winner more than the reference does. */
  inside: Tensor;
  /** [2n] mean squared error of each prediction, winners first. */
  modelLosses: Tensor;
  referenceLosses: Tensor;
  /** Share of pairs with `inside` strictly positive. Waits for the device when it is asked for. */
  readonly accuracy: number;
}

/**
 * Diffusion-DPO on what a model puts out: ε, or v.
 *
 * model, reference, target [2n, c, h, w], winners in the first half, both sides of a pair noised alike.
 * m = mean_chw (output − target)²; Δ = (m_w − m_l) − (r_w − r_l); loss = mean(−ln σ(−½·β·Δ)).
 * β/2 multiplies a difference of errors: a rounding of 2e-7 in them is 5e-4 inside the sigmoid at β = 5000.
 * Source: Wallace et al. 2024, eq. 14; algorithm 6.
 */
export function dpoLoss({
  model,
  reference,
  target,
  beta,
}: {
  model: Tensor;
  reference: Tensor;
  target: Tensor;
  beta: number;
}): DpoLoss {
  const modelLosses = squaredError(model, target);
  const referenceLosses = squaredError(reference, target);
  const inside = winMinusLose(modelLosses)
    .sub(winMinusLose(referenceLosses))
    .mul(-0.5 * beta);
  const perSample = inside.logSigmoid().neg();
  return {
    loss: perSample.mean(),
    perSample,
    inside,
    modelLosses,
    referenceLosses,
    get accuracy() {
      return scope(() => inside.detach().gt(0).to({ dtype: "float32" }).mean().item());
    },
  };
}

const squaredError = (output: Tensor, target: Tensor): Tensor =>
  output.to({ dtype: "float32" }).sub(target).square().mean([1, 2, 3]);

function winMinusLose(losses: Tensor): Tensor {
  const [win, lose] = losses.chunk(2) as [Tensor, Tensor];
  return win.sub(lose);
}
