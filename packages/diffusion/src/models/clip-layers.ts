// The transformer of CLIP, shared by text and vision towers.

import { gelu, LayerNorm, Linear, Module, scaledDotProductAttention, scope, type Tensor } from "@spo/torch";
import type { z } from "zod";

/** `hidden_act` of a CLIP config. */
export type ClipActivation = "gelu" | "quick_gelu";

/** An issue where the heads of a tower do not divide its width. For zod's `check`. */
export function headsDivide({
  value,
  issues,
}: z.core.ParsePayload<{ hidden_size: number; num_attention_heads: number }>): void {
  const { hidden_size: width, num_attention_heads: heads } = value;
  if (width % heads === 0) return;
  const message = `${heads} heads do not divide the width ${width}`;
  issues.push({ code: "custom", path: ["num_attention_heads"], message, input: value });
}

/** x·σ(1.702·x), or exact GELU. */
export function clipActivation(x: Tensor, kind: ClipActivation): Tensor {
  return kind === "gelu" ? gelu(x) : scope(() => x.mul(x.mul(1.702).sigmoid()));
}

/**
 * Multi-head self-attention with biases. x [b, n, width] → [b, n, width], or [b, m, width] for `queries` [b, m, width], some of x's rows.
 *
 * Source: transformers CLIPAttention.
 */
export class CLIPAttention extends Module {
  readonly k_proj: Linear;
  readonly v_proj: Linear;
  readonly q_proj: Linear;
  readonly out_proj: Linear;
  readonly #heads: number;

  constructor(width: number, heads: number) {
    super();
    this.k_proj = new Linear(width, width);
    this.v_proj = new Linear(width, width);
    this.q_proj = new Linear(width, width);
    this.out_proj = new Linear(width, width);
    this.#heads = heads;
  }

  forward(x: Tensor, { causal = false, queries = x }: { causal?: boolean; queries?: Tensor } = {}): Tensor {
    return scope(() => {
      const split = (y: Tensor): Tensor => y.unflatten(-1, [this.#heads, -1]).transpose(1, 2); // [b, heads, n, d]
      const attended = scaledDotProductAttention(
        split(this.q_proj.forward(queries)),
        split(this.k_proj.forward(x)),
        split(this.v_proj.forward(x)),
        null,
        0,
        causal,
      );
      return this.out_proj.forward(attended.transpose(1, 2).flatten(2));
    });
  }
}

/** Linear → activation → linear. Source: transformers CLIPMLP. */
export class CLIPMLP extends Module {
  readonly fc1: Linear;
  readonly fc2: Linear;
  readonly #activation: ClipActivation;

  constructor(width: number, inner: number, activation: ClipActivation) {
    super();
    this.fc1 = new Linear(width, inner);
    this.fc2 = new Linear(inner, width);
    this.#activation = activation;
  }

  forward(x: Tensor): Tensor {
    return scope(() => this.fc2.forward(clipActivation(this.fc1.forward(x), this.#activation)));
  }
}

/** Attention and MLP, each pre-normed and residual. Source: transformers CLIPEncoderLayer. */
export class CLIPEncoderLayer extends Module {
  readonly self_attn: CLIPAttention;
  readonly layer_norm1: LayerNorm;
  readonly mlp: CLIPMLP;
  readonly layer_norm2: LayerNorm;

  constructor(
    width: number,
    heads: number,
    inner: number,
    { activation, eps }: { activation: ClipActivation; eps: number },
  ) {
    super();
    this.self_attn = new CLIPAttention(width, heads);
    this.layer_norm1 = new LayerNorm(width, { eps });
    this.mlp = new CLIPMLP(width, inner, activation);
    this.layer_norm2 = new LayerNorm(width, { eps });
  }

  forward(x: Tensor, { causal = false } = {}): Tensor {
    return scope(() => {
      const h = x.add(this.self_attn.forward(this.layer_norm1.forward(x), { causal }));
      return h.add(this.mlp.forward(this.layer_norm2.forward(h)));
    });
  }
}
