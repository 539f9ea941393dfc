import { scope, type Tensor, tensor } from "@spo/torch";

/** A batch of pairs, one entry each. Over all processes: features are gathered first. */
export interface SpmLossInput {
  /** [n] with the graph. */
  score0: Tensor;
  score1: Tensor;
  /** [n] soft labels, label0 + label1 = 1; equal ones are a tie. */
  label0: Tensor;
  label1: Tensor;
  /** [n] number of examples that the data has of the pair's prompt. */
  examples: Tensor;
  /** Σ 1/n of the global batch, when these pairs are a part of it; the parts' losses then add up to the batch's. */
  inverseSum?: Tensor;
  /** [n] what each pair's weight is multiplied by after they were made to sum to 1. */
  factor?: Tensor;
}

/** A loss of the preference model with its parts, n pairs. */
export interface SpmLoss {
  loss: Tensor;
  /** [n] before weighting; ideal 0. */
  perSample: Tensor;
  /** [n], sum 1 over the global batch, but for a `factor`. */
  weight: Tensor;
}

/**
 * Cross entropy of the preferred image under softmax(score0, score1), weighted so that each prompt counts alike.
 *
 * ℓ = −Σ_i label_i·log softmax(s)_i, + ln ½ for ties; loss = Σ_j w_j·ℓ_j with w_j = (1/n_j)/Σ(1/n). Source: algorithm 3c, steps 3 and 4.
 */
export function spmLoss({
  score0,
  score1,
  label0,
  label1,
  examples,
  inverseSum,
  factor,
}: SpmLossInput): SpmLoss {
  const margin = score0.sub(score1);
  const crossEntropy = label0.mul(margin.logSigmoid()).add(label1.mul(margin.neg().logSigmoid())).neg();
  const perSample = crossEntropy.add(label0.eq(label1).to({ dtype: score0.dtype }), { alpha: -Math.LN2 });
  const inverse = examples.to({ dtype: score0.dtype }).reciprocal();
  const share = inverse.div(inverseSum ?? inverse.sum());
  const weight = factor ? share.mul(factor) : share;
  return { loss: weight.mul(perSample).sum(), perSample, weight };
}

/**
 * Labels from plain scores of the clean images, as SDXL's preference model is trained with.
 *
 * p = softmax(s0, s1); (1, 0) where p0 − p1 > threshold, (0, 1) where p1 − p0 > threshold, else (½, ½). Source: algorithm 3c.
 */
export function relabel(
  scores0: ArrayLike<number>,
  scores1: ArrayLike<number>,
  threshold: number,
): { label0: number[]; label1: number[] } {
  const label0 = Array.from(scores0, (s0, i) => {
    const gap = Math.tanh((s0 - (scores1[i] as number)) / 2); // p0 − p1
    return gap > threshold ? 1 : -gap > threshold ? 0 : 0.5;
  });
  return { label0, label1: label0.map((label) => 1 - label) };
}

/**
 * Share of pairs whose preferred image has the higher score; equal scores and tied labels count one half.
 *
 * Source: algorithm 3c, evaluation for SD1.5.
 */
export function pairAccuracy(
  scores0: ArrayLike<number>,
  scores1: ArrayLike<number>,
  label0: ArrayLike<number>,
): number {
  if (scores0.length === 0) return Number.NaN;
  let right = 0;
  for (let i = 0; i < scores0.length; i++) {
    const margin = (scores0[i] as number) - (scores1[i] as number);
    const side = Math.sign((label0[i] as number) - 0.5) * Math.sign(margin);
    right += (side + 1) / 2;
  }
  return right / scores0.length;
}

/** Σ 1/n over a whole batch: the denominator of its pairs' weights. examples: n of each pair. */
export const inverseSumOf = (examples: readonly number[], device = "cpu"): Tensor =>
  scope(() =>
    tensor([...examples], { device })
      .reciprocal()
      .sum(),
  );

/** [n] float32 tensors of a batch's labels and example counts, where `spmLoss` wants them. */
export function labelTensors(
  labels0: readonly number[],
  examples: readonly number[],
  device = "cpu",
): Pick<SpmLossInput, "label0" | "label1" | "examples"> {
  return {
    label0: tensor([...labels0], { device }),
    label1: tensor(
      labels0.map((label) => 1 - label),
      { device },
    ),
    examples: tensor([...examples], { device }),
  };
}
