import {
  Embedding,
  gelu,
  Linear,
  Module,
  RMSNorm,
  scaledDotProductAttention,
  scope,
  type Tensor,
  tensor,
} from "@spo/torch";
import { z } from "zod";
import { checkConfig, count, MOST } from "../config.js";
import type { Tap } from "./tap.js";

/** config.json of transformers' T5EncoderModel, version 1.1: gated GELU. */
export const T5Config = z.looseObject({
  vocab_size: count(2 ** 24).default(32128),
  d_model: count(MOST.width).default(512),
  d_kv: count(MOST.width).default(64),
  d_ff: count(2 ** 18).default(2048),
  num_layers: count(MOST.layers).default(6),
  num_heads: count(MOST.heads).default(8),
  relative_attention_num_buckets: z
    .int()
    .min(4)
    .max(2 ** 16)
    .multipleOf(2)
    .default(32),
  relative_attention_max_distance: count(2 ** 24).default(128),
  layer_norm_epsilon: z.number().positive().max(1).default(1e-6),
  feed_forward_proj: z.literal("gated-gelu", {
    error: ({ input }) =>
      `only "gated-gelu" (T5 v1.1) is supported, the file has ${JSON.stringify(input) ?? 'none, which means "relu"'}`,
  }),
});
export type T5Config = z.input<typeof T5Config>;
type Sizes = z.output<typeof T5Config>;

/** Self-attention without 1/√d and biases; bias [1, heads, L, L] is added to the logits. x [b, L, d] → [b, L, d]. */
class T5Attention extends Module {
  readonly q: Linear;
  readonly k: Linear;
  readonly v: Linear;
  readonly o: Linear;
  /** A bias for each bucket of distances and head, in the first layer alone. */
  readonly relative_attention_bias?: Embedding;
  readonly #heads: number;

  constructor({ d_model: width, d_kv, num_heads: heads, ...config }: Sizes, hasBias: boolean) {
    super();
    const inner = heads * d_kv;
    this.q = new Linear(width, inner, { bias: false });
    this.k = new Linear(width, inner, { bias: false });
    this.v = new Linear(width, inner, { bias: false });
    this.o = new Linear(inner, width, { bias: false });
    if (hasBias) this.relative_attention_bias = new Embedding(config.relative_attention_num_buckets, heads);
    this.#heads = heads;
  }

  forward(x: Tensor, bias: Tensor): Tensor {
    return scope(() => {
      const split = (y: Tensor): Tensor => y.unflatten(-1, [this.#heads, -1]).transpose(1, 2); // [b, heads, L, d_kv]
      const [q, k, v] = [this.q, this.k, this.v].map((layer) => split(layer.forward(x))) as [
        Tensor,
        Tensor,
        Tensor,
      ];
      const attended = scaledDotProductAttention(q, k, v, bias, 0, false, { scale: 1 });
      return this.o.forward(attended.transpose(1, 2).flatten(2));
    });
  }
}

class T5LayerSelfAttention extends Module {
  readonly SelfAttention: T5Attention;
  readonly layer_norm: RMSNorm;

  constructor(config: Sizes, hasBias: boolean) {
    super();
    this.SelfAttention = new T5Attention(config, hasBias);
    this.layer_norm = new RMSNorm(config.d_model, { eps: config.layer_norm_epsilon });
  }

  forward(x: Tensor, bias: Tensor): Tensor {
    return scope(() => x.add(this.SelfAttention.forward(this.layer_norm.forward(x), bias)));
  }
}

/** wo(gelu(wi_0·x) ⊙ wi_1·x), GELU by its tanh. Source: Shazeer 2020, GEGLU. */
class T5DenseGatedActDense extends Module {
  readonly wi_0: Linear;
  readonly wi_1: Linear;
  readonly wo: Linear;

  constructor({ d_model: width, d_ff: inner }: Sizes) {
    super();
    this.wi_0 = new Linear(width, inner, { bias: false });
    this.wi_1 = new Linear(width, inner, { bias: false });
    this.wo = new Linear(inner, width, { bias: false });
  }

  forward(x: Tensor): Tensor {
    return scope(() => {
      const gate = gelu(this.wi_0.forward(x), { approximate: "tanh" });
      return this.wo.forward(gate.mul(this.wi_1.forward(x)));
    });
  }
}

class T5LayerFF extends Module {
  readonly DenseReluDense: T5DenseGatedActDense;
  readonly layer_norm: RMSNorm;

  constructor(config: Sizes) {
    super();
    this.DenseReluDense = new T5DenseGatedActDense(config);
    this.layer_norm = new RMSNorm(config.d_model, { eps: config.layer_norm_epsilon });
  }

  forward(x: Tensor): Tensor {
    return scope(() => x.add(this.DenseReluDense.forward(this.layer_norm.forward(x))));
  }
}

class T5Block extends Module {
  readonly layer: [T5LayerSelfAttention, T5LayerFF];

  constructor(config: Sizes, hasBias: boolean) {
    super();
    this.layer = [new T5LayerSelfAttention(config, hasBias), new T5LayerFF(config)];
  }

  forward(x: Tensor, bias: Tensor): Tensor {
    return scope(() => this.layer[1].forward(this.layer[0].forward(x, bias)));
  }
}

class T5Stack extends Module {
  readonly block: T5Block[];
  readonly final_layer_norm: RMSNorm;

  constructor(config: Sizes) {
    super();
    this.block = Array.from({ length: config.num_layers }, (_, i) => new T5Block(config, i === 0));
    this.final_layer_norm = new RMSNorm(config.d_model, { eps: config.layer_norm_epsilon });
  }
}

/**
 * The encoder of T5 v1.1: token ids (int64 [b, L]) → states after the final norm [b, L, d_model]. There is no mask: padding takes part,
 * as in the pipelines of SD3 and FLUX.
 *
 * Source: transformers T5EncoderModel; Raffel et al. 2020, section 2.1; Shazeer 2020.
 */
export class T5EncoderModel extends Module {
  readonly shared: Embedding;
  readonly encoder: T5Stack;
  readonly #config: T5Config;
  readonly #sizes: Sizes;

  /** Throws a UserError for a config value that is not supported. */
  constructor(config: T5Config) {
    super();
    this.#sizes = checkConfig(T5Config, config, "T5 encoder: config.json");
    this.#config = config;
    this.shared = new Embedding(this.#sizes.vocab_size, this.#sizes.d_model);
    this.encoder = new T5Stack(this.#sizes);
  }

  get config(): T5Config {
    return this.#config;
  }

  /** transformers' word for its kind. */
  get modelType(): string {
    return "t5";
  }

  /** Width of the states. */
  get width(): number {
    return this.#sizes.d_model;
  }

  /** tap: sees `position_bias` [1, heads, L, L] and `hidden_states.i` [b, L, d]: 0 the embeddings, i after block i, the last normed. */
  forward(tokens: Tensor, { tap }: { tap?: Tap } = {}): Tensor {
    return scope(() => {
      const { device } = this.shared.weight;
      const { block: blocks, final_layer_norm: norm } = this.encoder;
      const bias = this.#positionBias(tokens.shape[1] as number);
      tap?.("position_bias", bias);
      let x = this.shared.forward(tokens.to({ device })); // a tokenizer's are on the CPU
      for (const [i, block] of blocks.entries()) {
        tap?.(`hidden_states.${i}`, x);
        const before = x;
        x = block.forward(before, bias);
        if (!tap) before.dispose();
      }
      const last = norm.forward(x);
      tap?.(`hidden_states.${blocks.length}`, last);
      return last;
    });
  }

  /** bias[h, q, k] = table[bucket(k − q)][h] of the first layer. [1, heads, L, L] */
  #positionBias(length: number): Tensor {
    return scope(() => {
      const table = this.encoder.block[0]?.layer[0].SelfAttention.relative_attention_bias as Embedding;
      const { relative_attention_num_buckets: buckets, relative_attention_max_distance: most } = this.#sizes;
      const ofDistance = Array.from({ length: 2 * length - 1 }, (_, i) =>
        relativeBucket(i - length + 1, { buckets, most }),
      );
      const places = Array.from({ length: length ** 2 }, (_, at) => {
        const [query, key] = [Math.floor(at / length), at % length];
        return ofDistance[key - query + length - 1] as number;
      });
      const ids = tensor(places, {
        dtype: "int64",
        shape: [length, length],
        device: table.weight.device,
      });
      return table.forward(ids).permute([2, 0, 1]).unsqueeze(0);
    });
  }
}

/**
 * The bucket of a distance from query to key: half of all for keys behind the query, half before it; of each half, half for the exact
 * distances, and logarithmically wider ones from there to `most`, the last for all beyond.
 *
 * Source: Raffel et al. 2020, section 2.1; transformers T5Attention `_relative_position_bucket`, which takes logarithms in float32.
 */
export function relativeBucket(
  distance: number,
  { buckets, most }: { buckets: number; most: number },
): number {
  const half = buckets / 2;
  const exact = Math.floor(half / 2);
  const side = distance > 0 ? half : 0;
  const d = Math.abs(distance);
  if (d < exact) return side + d;
  const f = Math.fround;
  const share = f(f(Math.log(f(d / exact))) / f(Math.log(most / exact)));
  return side + Math.min(half - 1, exact + Math.floor(f(share * (half - exact))));
}
