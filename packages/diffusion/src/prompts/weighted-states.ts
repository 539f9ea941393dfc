// The weights of a prompt's words, put into a text encoder's states.
import { cat, scope, type Tensor, tensor } from "@spo/torch";

/**
 * Multiplies each token's states by its weight, and each text's by what brings its mean back, so that a heavy word takes from the others.
 *
 * states [n, L, d], weights n rows of L → [n, L, d]. Rows whose weights are all 1 keep their bits. Source: A1111's web UI,
 * `EmphasisOriginal`.
 */
export function weightedStates(states: Tensor, weights: readonly (readonly number[])[]): Tensor {
  if (weights.every((row) => row.every((weight) => weight === 1))) return states;
  return scope(() => {
    const { dtype, device } = states;
    const rows = weights.map((row, i) => {
      const text = states.narrow(0, i, 1);
      if (row.every((weight) => weight === 1)) return text;
      const heavy = text.mul(
        tensor([...row])
          .to({ dtype, device })
          .reshape([1, -1, 1]),
      );
      const ratio = text.mean().item() / heavy.mean().item();
      // A mean of zero cannot be brought back.
      return Number.isFinite(ratio) ? heavy.mul(ratio) : heavy;
    });
    return rows.length === 1 ? (rows[0] as Tensor) : cat(rows, 0);
  });
}
