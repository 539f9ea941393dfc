import { type Generator, randint, randn, scope, type Tensor } from "@spo/torch";
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
