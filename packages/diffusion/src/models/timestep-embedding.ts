import { arange, cat, Linear, Module, scope, silu, type Tensor } from "@spo/torch";

/**
 * Sinusoids of timesteps. timesteps [n] → [n, width]. Source: diffusers `get_timestep_embedding`, period 10000.
 *
 * flip: cosines first, as both families have it.
 */
export function timestepEmbedding(timesteps: Tensor, width: number, { flip = true, shift = 0 } = {}): Tensor {
  return scope(() => {
    const half = width / 2;
    const frequencies = arange(0, half, 1, { device: timesteps.device })
      .mul(-Math.log(10000) / (half - shift))
      .exp();
    const angles = timesteps.to({ dtype: "float32" }).unsqueeze(1).mul(frequencies.unsqueeze(0)); // [n, half]
    return cat(flip ? [angles.cos(), angles.sin()] : [angles.sin(), angles.cos()], 1);
  });
}

/** Linear → SiLU → Linear, a condition added before. Source: diffusers TimestepEmbedding. */
export class TimestepEmbedding extends Module {
  readonly cond_proj?: Linear;
  readonly linear_1: Linear;
  readonly linear_2: Linear;

  constructor(inFeatures: number, outFeatures: number, conditionFeatures?: number | null) {
    super();
    if (conditionFeatures) this.cond_proj = new Linear(conditionFeatures, inFeatures, { bias: false });
    this.linear_1 = new Linear(inFeatures, outFeatures);
    this.linear_2 = new Linear(outFeatures, outFeatures);
  }

  forward(x: Tensor, condition?: Tensor): Tensor {
    return scope(() => {
      const told = condition && this.cond_proj ? x.add(this.cond_proj.forward(condition)) : x;
      return this.linear_2.forward(silu(this.linear_1.forward(told)));
    });
  }
}
