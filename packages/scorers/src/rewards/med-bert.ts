import {
  Embedding,
  gelu,
  LayerNorm,
  Linear,
  Module,
  scaledDotProductAttention,
  scope,
  type Tensor,
} from "@spo/torch";

export interface MedBertSizes {
  vocabulary: number;
  positions: number;
  width: number;
  heads: number;
  inner: number;
  layers: number;
  /** Width of the image tokens that the cross-attention reads. */
  imageWidth: number;
  eps: number;
}

class Embeddings extends Module {
  readonly word_embeddings: Embedding;
  readonly position_embeddings: Embedding;
  readonly LayerNorm: LayerNorm;

  constructor({ vocabulary, positions, width, eps }: MedBertSizes) {
    super();
    this.word_embeddings = new Embedding(vocabulary, width);
    this.position_embeddings = new Embedding(positions, width);
    this.LayerNorm = new LayerNorm(width, { eps });
  }

  forward(ids: Tensor): Tensor {
    return scope(() => {
      const length = ids.shape[1] as number;
      return this.LayerNorm.forward(
        this.word_embeddings.forward(ids).add(this.position_embeddings.weight.narrow(0, 0, length)),
      );
    });
  }
}

class SelfAttention extends Module {
  readonly query: Linear;
  readonly key: Linear;
  readonly value: Linear;
  readonly #heads: number;

  constructor(width: number, heads: number, from: number) {
    super();
    this.query = new Linear(width, width);
    this.key = new Linear(from, width);
    this.value = new Linear(from, width);
    this.#heads = heads;
  }

  /** x [n, L, width], source [n, M, from], mask bool [n, 1, 1, M]: which of the source's places are seen → [n, L, width]. */
  forward(x: Tensor, source: Tensor, mask?: Tensor): Tensor {
    return scope(() => {
      const split = (y: Tensor): Tensor => y.unflatten(-1, [this.#heads, -1]).transpose(1, 2); // [n, heads, places, d]
      const attended = scaledDotProductAttention(
        split(this.query.forward(x)),
        split(this.key.forward(source)),
        split(this.value.forward(source)),
        mask,
      );
      return attended.transpose(1, 2).flatten(2);
    });
  }
}

/** Linear map, residual, norm: BERT norms after. */
class Output extends Module {
  readonly dense: Linear;
  readonly LayerNorm: LayerNorm;

  constructor(inner: number, width: number, eps: number) {
    super();
    this.dense = new Linear(inner, width);
    this.LayerNorm = new LayerNorm(width, { eps });
  }

  forward(h: Tensor, residual: Tensor): Tensor {
    return scope(() => this.LayerNorm.forward(this.dense.forward(h).add(residual)));
  }
}

class Attention extends Module {
  readonly self: SelfAttention;
  readonly output: Output;

  constructor({ width, heads, eps }: MedBertSizes, from: number) {
    super();
    this.self = new SelfAttention(width, heads, from);
    this.output = new Output(width, width, eps);
  }

  forward(x: Tensor, source: Tensor, mask?: Tensor): Tensor {
    return scope(() => this.output.forward(this.self.forward(x, source, mask), x));
  }
}

class Intermediate extends Module {
  readonly dense: Linear;

  constructor(width: number, inner: number) {
    super();
    this.dense = new Linear(width, inner);
  }
}

class Layer extends Module {
  readonly attention: Attention;
  readonly crossattention: Attention;
  readonly intermediate: Intermediate;
  readonly output: Output;

  constructor(sizes: MedBertSizes) {
    super();
    this.attention = new Attention(sizes, sizes.width);
    this.crossattention = new Attention(sizes, sizes.imageWidth);
    this.intermediate = new Intermediate(sizes.width, sizes.inner);
    this.output = new Output(sizes.inner, sizes.width, sizes.eps);
  }

  forward(x: Tensor, mask: Tensor, image: Tensor): Tensor {
    return scope(() => {
      const seen = this.attention.forward(x, x, mask);
      const looked = this.crossattention.forward(seen, image);
      return this.output.forward(gelu(this.intermediate.dense.forward(looked)), looked);
    });
  }
}

class Encoder extends Module {
  readonly layer: readonly Layer[];

  constructor(sizes: MedBertSizes) {
    super();
    this.layer = Array.from({ length: sizes.layers }, () => new Layer(sizes));
  }
}

/**
 * BERT whose every layer also looks at an image: BLIP's "mixture of encoder and decoder", here as encoder.
 *
 * ids int64 [n, L], seen bool [n, L]: which places are text, not padding; image [n, M, imageWidth] → [n, L, width].
 * Source: ImageReward, models/BLIP/med.py, BertModel with mode "multimodal".
 */
export class MedBert extends Module {
  readonly embeddings: Embeddings;
  readonly encoder: Encoder;

  constructor(sizes: MedBertSizes) {
    super();
    this.embeddings = new Embeddings(sizes);
    this.encoder = new Encoder(sizes);
  }

  forward(ids: Tensor, seen: Tensor, image: Tensor): Tensor {
    return scope(() => {
      const mask = seen.unsqueeze(1).unsqueeze(1);
      let h = this.embeddings.forward(ids);
      for (const layer of this.encoder.layer) h = scope(() => layer.forward(h, mask, image));
      return h;
    });
  }
}
