// How far a student's vectors are from those of the model that it learns from.
import { cat, scope, type Tensor, tensor } from "@spo/torch";
import { joinTexts, textRows, type VectorModel } from "../../spm/preference-model.js";
import type { VectorSpread } from "./noised-pairs.js";
import type { PairLossInput } from "./pair-loss.js";

/** Weight of the differences within a pair beside the vectors themselves. */
const OF_DIFFERENCES = 0.5;

/** What a part of a batch is to learn from the teacher. */
export interface VectorTargets {
  /** Unit vectors of either side, [n, p]. */
  vectors: readonly [Tensor, Tensor];
  /** Of the prompts of the input, a row each. */
  texts: Tensor;
  /** Of the kind of each pair. */
  spread: readonly VectorSpread[];
}

/**
 * Mean squared error of the vectors of both sides and of the texts, and of the difference of the two sides, each over its spread. Siblings
 * differ by little of what their vectors have in common, and the difference alone decides which is preferred.
 *
 * Returns the loss, and scores of both sides for how often the pair is ordered as by the teacher.
 */
export function vectorLoss(
  model: VectorModel,
  { inputs, timesteps, prompts, rows, examples, inverseSum }: PairLossInput,
  { vectors, texts: wanted, spread }: VectorTargets,
): { loss: Tensor; score0: Tensor; score1: Tensor } {
  return scope(() => {
    const read = model.encode(prompts);
    const texts = textRows(read, rows);
    const both = joinTexts([texts, texts]);
    const images = model.imageVectors(cat([...inputs]), cat([timesteps, timesteps]), both);
    const [one, other] = images.chunk(2) as [Tensor, Tensor];
    const [to0, to1] = vectors;
    const own = model.textVectors(texts);
    const error = (found: Tensor, right: Tensor): Tensor => found.sub(right).square().mean([1]);
    const perPairOf = (of: (spread: VectorSpread) => number): Tensor =>
      tensor(spread.map(of), { device: one.device });
    const perPair = error(one, to0)
      .add(error(other, to1))
      .div(perPairOf(({ vectors }) => 2 * vectors))
      .add(error(one.sub(other), to0.sub(to1)).mul(perPairOf((of) => OF_DIFFERENCES / of.differences)))
      .add(error(own, textRows({ wanted }, rows).wanted as Tensor).div(perPairOf((of) => of.vectors)));
    const [score0, score1] = [one, other].map((side) => side.mul(own).sum(-1)) as [Tensor, Tensor];
    const inverse = examples.to({ dtype: perPair.dtype }).reciprocal();
    return { loss: perPair.mul(inverse.div(inverseSum ?? inverse.sum())).sum(), score0, score1 };
  });
}
