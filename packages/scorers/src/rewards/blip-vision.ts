import {
  Conv2d,
  cat,
  gelu,
  LayerNorm,
  Linear,
  Module,
  parameter,
  scaledDotProductAttention,
  scope,
  type Tensor,
} from "@spo/torch";

/** As in timm's vision transformers, on which BLIP's is based. */
const EPS = 1e-6;

class PatchEmbed extends Module {
  readonly proj: Conv2d;

  constructor(width: number, patch: number) {
    super();
    this.proj = new Conv2d(3, width, patch, { stride: patch });
  }
}

class Attention extends Module {
  readonly qkv: Linear;
  readonly proj: Linear;
  readonly #heads: number;

  constructor(width: number, heads: number) {
    super();
    this.qkv = new Linear(width, 3 * width);
    this.proj = new Linear(width, width);
    this.#heads = heads;
  }

  forward(x: Tensor): Tensor {
    return scope(() => {
      // [b, n, 3, heads, d] → three of [b, heads, n, d]
      const [q, k, v] = this.qkv
        .forward(x)
        .unflatten(-1, [3, this.#heads, -1])
        .permute([2, 0, 3, 1, 4])
        .chunk(3, 0) as [Tensor, Tensor, Tensor];
      const attended = scaledDotProductAttention(q.squeeze(0), k.squeeze(0), v.squeeze(0));
      return this.proj.forward(attended.transpose(1, 2).flatten(2));
    });
  }
}

class Mlp extends Module {
  readonly fc1: Linear;
  readonly fc2: Linear;

  constructor(width: number, inner: number) {
    super();
    this.fc1 = new Linear(width, inner);
    this.fc2 = new Linear(inner, width);
  }

  forward(x: Tensor): Tensor {
    return scope(() => this.fc2.forward(gelu(this.fc1.forward(x))));
  }
}

class Block extends Module {
  readonly norm1: LayerNorm;
  readonly attn: Attention;
  readonly norm2: LayerNorm;
  readonly mlp: Mlp;

  constructor(width: number, heads: number, inner: number) {
    super();
    this.norm1 = new LayerNorm(width, { eps: EPS });
    this.attn = new Attention(width, heads);
    this.norm2 = new LayerNorm(width, { eps: EPS });
    this.mlp = new Mlp(width, inner);
  }

  forward(x: Tensor): Tensor {
    return scope(() => {
      const h = x.add(this.attn.forward(this.norm1.forward(x)));
      return h.add(this.mlp.forward(this.norm2.forward(h)));
    });
  }
}

export interface BlipVisionSizes {
  width: number;
  heads: number;
  /** Of the MLPs. */
  inner: number;
  layers: number;
  /** Sides in pixels. */
  image: number;
  patch: number;
}

/** BLIP's vision transformer. pixels [n, 3, image, image] → [n, 1 + patches, width]. Source: ImageReward, models/BLIP/vit.py. */
export class BlipVision extends Module {
  readonly cls_token: Tensor;
  readonly pos_embed: Tensor;
  readonly patch_embed: PatchEmbed;
  readonly blocks: readonly Block[];
  readonly norm: LayerNorm;

  constructor({ width, heads, inner, layers, image, patch }: BlipVisionSizes) {
    super();
    this.cls_token = parameter([1, 1, width]);
    this.pos_embed = parameter([1, 1 + (image / patch) ** 2, width]);
    this.patch_embed = new PatchEmbed(width, patch);
    this.blocks = Array.from({ length: layers }, () => new Block(width, heads, inner));
    this.norm = new LayerNorm(width, { eps: EPS });
  }

  forward(pixels: Tensor): Tensor {
    return scope(() => {
      const patches = this.patch_embed.proj.forward(pixels).flatten(2).transpose(1, 2);
      const [n, , width] = patches.shape as [number, number, number];
      let h = cat([this.cls_token.expand([n, 1, width]), patches], 1).add(this.pos_embed);
      for (const block of this.blocks) h = scope(() => block.forward(h));
      return this.norm.forward(h);
    });
  }
}
