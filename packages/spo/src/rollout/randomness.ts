import { type Generator, randint, randn, scope, type Tensor, tensor } from "@spo/torch";
import { withCommonDetail } from "./candidate-noise.js";

/** Where the draws of a rollout come from. */
export interface Randomness {
  /** Standard normal noise of one sampling step: [B, c, h, w] before the first branch, [k, B, c, h, w] from there on. */
  noise(step: number, shape: readonly number[]): Tensor;
  /** For each of B prompts, the candidate in [0, k) that goes on after a comparison. */
  choose(comparison: number, candidates: number, prompts: number): readonly number[];
}

/** All draws from one generator, in the order of the steps. noiseBlock: of `withCommonDetail`; 1: candidates share nothing. */
export function drawn(generator: Generator, { device = "cpu", noiseBlock = 1 } = {}): Randomness {
  return {
    noise: (_, shape) => {
      const noise = randn(shape, { generator, device });
      return shape.length === 5 ? withCommonDetail(noise, noiseBlock) : noise;
    },
    choose: (_, candidates, prompts) =>
      scope(() => randint(0, candidates, [prompts], { generator, dtype: "int64" }).toNumbers()),
  };
}

/**
 * The draws of some of a rollout's prompts: what they would get if all `count` prompts were sampled together. rows: of those prompts.
 */
export const drawnForRows = (
  { noise, choose }: Randomness,
  rows: readonly number[],
  count: number,
): Randomness => ({
  noise: (step, shape) => {
    const dim = shape.length === 5 ? 1 : 0;
    return scope(() =>
      rowsOf(
        noise(
          step,
          shape.map((size, i) => (i === dim ? count : size)),
        ),
        rows,
        dim,
      ),
    );
  },
  choose: (comparison, candidates) => {
    const chosen = choose(comparison, candidates, count);
    return rows.map((row) => chosen[row] as number);
  },
});

/** Some rows of a tensor along a dimension. */
export const rowsOf = (of: Tensor, rows: readonly number[], dim = 0): Tensor =>
  scope(() => of.indexSelect(dim, tensor([...rows], { dtype: "int64", device: of.device })));
