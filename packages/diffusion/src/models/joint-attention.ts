import { cat, Linear, Module, RMSNorm, scaledDotProductAttention, scope, type Tensor } from "@spo/torch";
import { type Rotation, rotate } from "./rotary-embedding.js";

/**
 * Attention of image and text tokens over both, each with projections of its own.
 *
 * image [b, n, width], context [b, m, width] → the same, the context without an output projection where `contextOut` is false.
 * rotation, of [text; image]: of queries and keys, after their norms.
 * Source: Esser et al. 2024, figure 2; diffusers JointAttnProcessor2_0, FluxAttnProcessor.
 */
export class JointAttention extends Module {
  readonly norm_q?: RMSNorm;
  readonly norm_k?: RMSNorm;
  readonly to_q: Linear;
  readonly to_k: Linear;
  readonly to_v: Linear;
  readonly to_out: [Linear];
  readonly norm_added_q?: RMSNorm;
  readonly norm_added_k?: RMSNorm;
  readonly add_q_proj: Linear;
  readonly add_k_proj: Linear;
  readonly add_v_proj: Linear;
  readonly to_add_out?: Linear;
  readonly #heads: number;

  constructor(
    heads: number,
    headDim: number,
    { qkNorm, contextOut }: { qkNorm: boolean; contextOut: boolean },
  ) {
    super();
    const width = heads * headDim;
    const project = (): Linear => new Linear(width, width);
    if (qkNorm) {
      this.norm_q = new RMSNorm(headDim);
      this.norm_k = new RMSNorm(headDim);
      this.norm_added_q = new RMSNorm(headDim);
      this.norm_added_k = new RMSNorm(headDim);
    }
    this.to_q = project();
    this.to_k = project();
    this.to_v = project();
    this.to_out = [project()];
    this.add_q_proj = project();
    this.add_k_proj = project();
    this.add_v_proj = project();
    if (contextOut) this.to_add_out = project();
    this.#heads = heads;
  }

  forward(image: Tensor, context: Tensor, rotation?: Rotation): { image: Tensor; context: Tensor } {
    return scope(() => {
      // The text comes first. SD3's reference has it last: attention is the same in any order, and only one is needed.
      const joined = (ofText: Linear, ofImage: Linear, textNorm?: RMSNorm, imageNorm?: RMSNorm): Tensor =>
        scope(() =>
          cat(
            [
              projectHeads(context, ofText, this.#heads, textNorm),
              projectHeads(image, ofImage, this.#heads, imageNorm),
            ],
            1,
          ),
        );
      const q = joined(this.add_q_proj, this.to_q, this.norm_added_q, this.norm_q);
      const k = joined(this.add_k_proj, this.to_k, this.norm_added_k, this.norm_k);
      const v = joined(this.add_v_proj, this.to_v);
      const tokens = context.shape[1] as number;
      const attended = attendHeads(q, k, v, rotation);
      const text = attended.narrow(1, 0, tokens);
      return {
        image: this.to_out[0].forward(attended.narrow(1, tokens, image.shape[1] as number)),
        context: this.to_add_out?.forward(text) ?? text,
      };
    });
  }
}

/** x [b, n, in] → [b, n, heads, d], each head normed. */
export function projectHeads(x: Tensor, to: Linear, heads: number, norm?: RMSNorm): Tensor {
  return scope(() => {
    const split = to.forward(x).unflatten(-1, [heads, -1]);
    return norm?.forward(split) ?? split;
  });
}

/** Queries, keys and values [b, n, heads, d] → [b, n, heads·d]; queries and keys are rotated first. */
export function attendHeads(q: Tensor, k: Tensor, v: Tensor, rotation?: Rotation): Tensor {
  return scope(() => {
    const place = (x: Tensor): Tensor => (rotation ? rotate(x, rotation) : x).transpose(1, 2);
    return scaledDotProductAttention(place(q), place(k), v.transpose(1, 2)).transpose(1, 2).flatten(2);
  });
}
