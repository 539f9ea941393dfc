// The head of a diffusion-native latent reward model: a score of the tokens that some blocks of a transformer leave.
// Source: Liu et al. 2026, "Beyond VLM-based rewards: diffusion-native latent reward modeling", and its code.
import type { BlockStates } from "@spo/diffusion";
import {
  cat,
  gelu,
  Linear,
  Module,
  parameter,
  RMSNorm,
  scaledDotProductAttention,
  scope,
  silu,
  type Tensor,
} from "@spo/torch";

/** Sizes of a {@link RewardHead}. */
export interface RewardHeadOptions {
  /** Width of a token, and of the embedding of time. */
  tokenWidth: number;
  /** Width of the head. Default: the token's. */
  width?: number;
  /** Blocks whose tokens it takes. */
  imageTaps: number;
  contextTaps: number;
  queries?: number;
  heads?: number;
  /** Whether tokens are projected first even where the widths are the same. */
  projectsIn?: boolean;
}

/**
 * Learned queries read the tokens of image and text, then those of the image; the mean of what each makes of them is the score.
 *
 * States of b samples → [b], unbounded. The fields are the published file's names.
 */
export class RewardHead extends Module {
  readonly layer_adapters_visual: LayerAdapter[];
  readonly layer_adapters_text: LayerAdapter[];
  readonly agg_visual: Linear;
  readonly agg_text: Linear;
  readonly query_tokens: Tensor;
  readonly attn1: QueryAttention;
  readonly attn2: QueryAttention;
  readonly norm_ff: RMSNorm;
  /** `ff.1` is the reference's activation, which holds no weights. */
  readonly ff: [Linear, undefined, Linear];
  readonly head: Linear;

  constructor({
    tokenWidth,
    width = tokenWidth,
    imageTaps,
    contextTaps,
    queries = 4,
    heads = 8,
    projectsIn = false,
  }: RewardHeadOptions) {
    super();
    const out = Math.floor(width / 4);
    const adapters = (count: number): LayerAdapter[] =>
      Array.from({ length: count }, () => new LayerAdapter(tokenWidth, { width, out, projectsIn }));
    this.layer_adapters_visual = adapters(imageTaps);
    this.layer_adapters_text = adapters(contextTaps);
    this.agg_visual = new Linear(imageTaps * out, width);
    this.agg_text = new Linear(contextTaps * out, width);
    this.query_tokens = parameter([1, queries, width]);
    this.attn1 = new QueryAttention(width, heads, { readsText: true });
    this.attn2 = new QueryAttention(width, heads, { readsText: false });
    this.norm_ff = new RMSNorm(width, { eps: null });
    this.ff = [new Linear(width, 4 * width), undefined, new Linear(4 * width, width)];
    this.head = new Linear(width, 1);
  }

  forward({ temb, image, context }: BlockStates): Tensor {
    return scope(() => {
      const joined = (adapters: LayerAdapter[], states: Tensor[], to: Linear): Tensor =>
        to.forward(
          cat(
            adapters.map((adapter, i) => adapter.forward(states[i] as Tensor, temb)),
            -1,
          ),
        );
      const seen = joined(this.layer_adapters_visual, image, this.agg_visual);
      const read = joined(this.layer_adapters_text, context, this.agg_text);
      let queries = this.query_tokens.expand([temb.shape[0] as number, -1, -1]);
      queries = this.attn1.forward(queries, seen, read);
      queries = this.attn2.forward(queries, seen);
      const [wide, , narrow] = this.ff;
      queries = queries.add(narrow.forward(gelu(wide.forward(this.norm_ff.forward(queries)))));
      return this.head.forward(queries).mean([1, 2]);
    });
  }
}

/**
 * Tokens of one block, scaled and shifted by time and pooled text (FiLM), with a learned mark of the block, made narrow.
 *
 * x [b, n, in], temb [b, in] → [b, n, out]. Source: Perez et al. 2018, "FiLM", section 2.
 */
class LayerAdapter extends Module {
  readonly proj_in?: Linear;
  readonly layer_embed: Tensor;
  readonly cond_mlp: [Linear, undefined, Linear];
  readonly proj: Linear;

  constructor(
    inFeatures: number,
    { width, out, projectsIn }: { width: number; out: number; projectsIn: boolean },
  ) {
    super();
    if (projectsIn || width !== inFeatures) this.proj_in = new Linear(inFeatures, width);
    this.layer_embed = parameter([1, 1, width]);
    this.cond_mlp = [new Linear(inFeatures, 2 * width), undefined, new Linear(2 * width, 2 * width)];
    this.proj = new Linear(width, out);
  }

  forward(x: Tensor, temb: Tensor): Tensor {
    return scope(() => {
      const [first, , second] = this.cond_mlp;
      const told = second.forward(silu(first.forward(temb))).unsqueeze(1);
      const [scale, shift] = told.chunk(2, -1) as [Tensor, Tensor];
      const tokens = this.proj_in?.forward(x) ?? x;
      return this.proj.forward(tokens.mul(scale.add(1)).add(shift).add(this.layer_embed));
    });
  }
}

/**
 * Attention of queries to the tokens of an image and, where it reads text, to those of the text, apart from each other; residual.
 *
 * queries [b, q, width], image [b, n, width], text [b, m, width] → [b, q, width]. With text, each token's value is multiplied by a gate in
 * (0, 1) that it gives itself.
 */
class QueryAttention extends Module {
  readonly norm_q: RMSNorm;
  readonly norm_v: RMSNorm;
  readonly norm_t?: RMSNorm;
  readonly to_q: Linear;
  readonly to_k_vis: Linear;
  readonly to_v_vis: Linear;
  readonly to_k_text?: Linear;
  readonly to_v_text?: Linear;
  readonly to_out: [Linear];
  readonly gate_vis?: Gate;
  readonly gate_text?: Gate;
  readonly #heads: number;

  constructor(width: number, heads: number, { readsText }: { readsText: boolean }) {
    super();
    const norm = (): RMSNorm => new RMSNorm(width, { eps: null });
    const map = (): Linear => new Linear(width, width);
    this.norm_q = norm();
    this.norm_v = norm();
    this.to_q = map();
    this.to_k_vis = map();
    this.to_v_vis = map();
    this.to_out = [map()];
    if (readsText) {
      this.norm_t = norm();
      this.to_k_text = map();
      this.to_v_text = map();
      this.gate_vis = [map(), undefined, new Linear(width, 1)];
      this.gate_text = [map(), undefined, new Linear(width, 1)];
    }
    this.#heads = heads;
  }

  forward(queries: Tensor, image: Tensor, text?: Tensor): Tensor {
    return scope(() => {
      const split = (x: Tensor): Tensor => x.unflatten(-1, [this.#heads, -1]).transpose(1, 2);
      const q = split(this.to_q.forward(this.norm_q.forward(queries)));
      const attend = (tokens: Tensor, key: Linear, value: Linear, gate?: Gate): Tensor => {
        const values = value.forward(tokens);
        const gated = gate ? values.mul(opening(gate, tokens)) : values;
        return scaledDotProductAttention(q, split(key.forward(tokens)), split(gated));
      };
      let read = attend(this.norm_v.forward(image), this.to_k_vis, this.to_v_vis, this.gate_vis);
      if (text && this.norm_t && this.to_k_text && this.to_v_text)
        read = read.add(attend(this.norm_t.forward(text), this.to_k_text, this.to_v_text, this.gate_text));
      return queries.add(this.to_out[0].forward(read.transpose(1, 2).flatten(2)));
    });
  }
}

type Gate = [Linear, undefined, Linear];

/** How far each token's gate is open. [b, n, width] → [b, n, 1]. */
const opening = ([first, , second]: Gate, tokens: Tensor): Tensor =>
  scope(() => second.forward(silu(first.forward(tokens))).sigmoid());
