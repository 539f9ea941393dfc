import {
  Conv2d,
  GroupNorm,
  LayerNorm,
  Linear,
  Module,
  RMSNorm,
  scaledDotProductAttention,
  scope,
  Tensor,
} from "@spo/torch";
import { FeedForward } from "./feed-forward.js";
import { type LayerCall, plainly } from "./layer-call.js";
import { mapOfTokens } from "./map-of-tokens.js";
import { repeatRows } from "./repeat-rows.js";

/** The layers that SPO adapts, by the ends of their names: all projections of an attention. */
export const ATTENTION_TARGETS: readonly string[] = ["to_q", "to_k", "to_v", "to_out.0"];

/** Texts of a batch in which several rows read the same one: row i reads texts[rows[i]]. */
export interface SharedContext {
  /** [u, m, contextDim] */
  texts: Tensor;
  /** int64 [b] */
  rows: Tensor;
}

/** What a batch attends to: [b, m, contextDim], or each text once, so that its keys and values are computed once. */
export type Context = Tensor | SharedContext;

/** Rows of a batch that attends to `context`. */
export const rowsOf = (context: Context): number =>
  (context instanceof Tensor ? context : context.rows).shape[0] as number;

/** A linear map of what a batch attends to, of each text once: [b, m, out]. */
export function projectContext(context: Context, to: Linear): Tensor {
  if (context instanceof Tensor) return to.forward(context);
  return scope(() => to.forward(context.texts).indexSelect(0, context.rows));
}

/**
 * Multi-head attention over tokens.
 *
 * `qkNorm`: an RMS norm of each head's queries and keys.
 * x [b, n, queryDim], context for b rows, or a multiple of them for [x; x; …] (default: x) → [rows of context, n, queryDim].
 * Source: diffusers Attention.
 */
export class Attention extends Module {
  readonly norm_q?: RMSNorm;
  readonly norm_k?: RMSNorm;
  readonly to_q: Linear;
  readonly to_k: Linear;
  readonly to_v: Linear;
  readonly to_out: [Linear];
  readonly #heads: number;

  constructor(
    queryDim: number,
    heads: number,
    headDim: number,
    { contextDim = queryDim, bias = false, qkNorm = false } = {},
  ) {
    super();
    const inner = heads * headDim;
    if (qkNorm) {
      this.norm_q = new RMSNorm(headDim);
      this.norm_k = new RMSNorm(headDim);
    }
    this.to_q = new Linear(queryDim, inner, { bias });
    this.to_k = new Linear(contextDim, inner, { bias });
    this.to_v = new Linear(contextDim, inner, { bias });
    this.to_out = [new Linear(inner, queryDim)];
    this.#heads = heads;
  }

  forward(x: Tensor, context: Context = x): Tensor {
    return scope(() => {
      const q = this.#split(repeatRows(this.to_q.forward(x), rowsOf(context)), this.norm_q);
      const k = this.#split(projectContext(context, this.to_k), this.norm_k);
      const v = this.#split(projectContext(context, this.to_v));
      const attended = scaledDotProductAttention(q, k, v).transpose(1, 2).flatten(2); // [b, n, inner]
      return this.to_out[0].forward(attended);
    });
  }

  /** [b, n, heads·d] → [b, heads, n, d], each head normed */
  #split(x: Tensor, norm?: RMSNorm): Tensor {
    const split = x.unflatten(-1, [this.#heads, -1]);
    return (norm?.forward(split) ?? split).transpose(1, 2);
  }
}

/** Self-attention, attention to the text, feed-forward, each pre-normed and residual. x [b, n, width] → [rows of context, n, width]. */
class BasicTransformerBlock extends Module {
  readonly norm1: LayerNorm;
  readonly attn1: Attention;
  readonly norm2: LayerNorm;
  readonly attn2: Attention;
  readonly norm3: LayerNorm;
  readonly ff: FeedForward;

  constructor(width: number, heads: number, headDim: number, contextDim: number) {
    super();
    this.norm1 = new LayerNorm(width);
    this.attn1 = new Attention(width, heads, headDim);
    this.norm2 = new LayerNorm(width);
    this.attn2 = new Attention(width, heads, headDim, { contextDim });
    this.norm3 = new LayerNorm(width);
    this.ff = new FeedForward(width, "geglu");
  }

  forward(x: Tensor, context: Context): Tensor {
    return scope(() => {
      let h = x.add(this.attn1.forward(this.norm1.forward(x)));
      const read = this.attn2.forward(this.norm2.forward(h), context);
      h = repeatRows(h, rowsOf(context)).add(read);
      return h.add(this.ff.forward(this.norm3.forward(h)));
    });
  }
}

/**
 * Transformer over the pixels of a feature map; residual.
 *
 * x [b, c, h, w], context for b rows, or a multiple of them for [x; x; …] → [rows of context, c, h, w].
 * `linear`: the projections are linear maps (SDXL), not 1×1 convs (SD1.5).
 * Source: diffusers Transformer2DModel, continuous input.
 */
export class Transformer2DModel extends Module {
  readonly norm: GroupNorm;
  readonly proj_in: Linear | Conv2d;
  readonly transformer_blocks: BasicTransformerBlock[];
  readonly proj_out: Linear | Conv2d;
  readonly #linear: boolean;

  constructor(
    channels: number,
    heads: number,
    {
      layers,
      contextDim,
      groups,
      linear,
    }: { layers: number; contextDim: number; groups: number; linear: boolean },
  ) {
    super();
    const project = (): Linear | Conv2d =>
      linear ? new Linear(channels, channels) : new Conv2d(channels, channels, 1);
    this.norm = new GroupNorm(groups, channels, { eps: 1e-6 });
    this.proj_in = project();
    this.transformer_blocks = Array.from(
      { length: layers },
      () => new BasicTransformerBlock(channels, heads, channels / heads, contextDim),
    );
    this.proj_out = project();
    this.#linear = linear;
  }

  forward(x: Tensor, context: Context, call: LayerCall = plainly): Tensor {
    return scope(() => {
      const [, , height, width] = x.shape as [number, number, number, number];
      const tokens = (map: Tensor): Tensor => map.flatten(2).transpose(1, 2); // [b, c, h, w] → [b, h·w, c]
      const map = (h: Tensor): Tensor => mapOfTokens(h, height, width);
      let h = this.norm.forward(x);
      h = this.#linear ? this.proj_in.forward(tokens(h)) : tokens(this.proj_in.forward(h));
      for (const block of this.transformer_blocks)
        h =
          context instanceof Tensor
            ? call((y, c) => block.forward(y, c), [h, context])
            : call((y, texts, rows) => block.forward(y, { texts, rows }), [h, context.texts, context.rows]);
      h = this.#linear ? map(this.proj_out.forward(h)) : this.proj_out.forward(map(h));
      return h.add(repeatRows(x, rowsOf(context)));
    });
  }
}
