import { cat, gelu, Linear, Module, RMSNorm, scope, type Tensor } from "@spo/torch";
import { AdaLayerNorm, modulate } from "./ada-layer-norm.js";
import { attendHeads, projectHeads } from "./joint-attention.js";
import type { Rotation } from "./rotary-embedding.js";
import type { Tap } from "./tap.js";

/** Self-attention without an output projection. x [b, n, width] → [b, n, width]. Source: diffusers FluxAttention, `pre_only`. */
class SingleAttention extends Module {
  readonly norm_q: RMSNorm;
  readonly norm_k: RMSNorm;
  readonly to_q: Linear;
  readonly to_k: Linear;
  readonly to_v: Linear;
  readonly #heads: number;

  constructor(heads: number, headDim: number) {
    super();
    const width = heads * headDim;
    this.norm_q = new RMSNorm(headDim);
    this.norm_k = new RMSNorm(headDim);
    this.to_q = new Linear(width, width);
    this.to_k = new Linear(width, width);
    this.to_v = new Linear(width, width);
    this.#heads = heads;
  }

  forward(x: Tensor, rotation: Rotation): Tensor {
    return scope(() =>
      attendHeads(
        projectHeads(x, this.to_q, this.#heads, this.norm_q),
        projectHeads(x, this.to_k, this.#heads, this.norm_k),
        projectHeads(x, this.to_v, this.#heads),
        rotation,
      ),
    );
  }
}

/**
 * Attention and feed-forward side by side, over the tokens [text; image] as one.
 *
 * x [b, n, width], temb [b, width] after its SiLU → [b, n, width].
 * Source: diffusers FluxSingleTransformerBlock; Dehghani et al. 2023, section 2.
 */
export class FluxSingleTransformerBlock extends Module {
  readonly norm: AdaLayerNorm;
  readonly proj_mlp: Linear;
  readonly proj_out: Linear;
  readonly attn: SingleAttention;

  constructor(heads: number, headDim: number) {
    super();
    const width = heads * headDim;
    this.norm = new AdaLayerNorm(width, 3);
    this.proj_mlp = new Linear(width, 4 * width);
    this.proj_out = new Linear(5 * width, width);
    this.attn = new SingleAttention(heads, headDim);
  }

  forward(x: Tensor, temb: Tensor, rotation: Rotation, tap?: Tap): Tensor {
    return scope(() => {
      const [shift, scale, gate] = this.norm.forward(temb) as [Tensor, Tensor, Tensor];
      const normed = modulate(x, shift, scale);
      tap?.("norm.out", normed);
      tap?.("norm.gate", gate.squeeze(1));
      const attended = this.attn.forward(normed, rotation);
      tap?.("attn", attended);
      const both = scope(() =>
        cat([attended, gelu(this.proj_mlp.forward(normed), { approximate: "tanh" })], -1),
      );
      return x.addcmul(gate, this.proj_out.forward(both));
    });
  }
}
