import type { ClipActivation } from "@spo/diffusion";
import { Conv2d, cat, Embedding, type Generator, Module, parameter, scope, type Tensor } from "@spo/torch";

/** A CLIP vision tower's sizes, by the names of its `config.json`. */
export interface VisionConfig {
  hidden_size: number;
  intermediate_size: number;
  num_attention_heads: number;
  num_hidden_layers: number;
  image_size: number;
  patch_size: number;
  num_channels: number;
  hidden_act: ClipActivation;
  layer_norm_eps: number;
}

/** Patches, class token and positions. pixels [n, c, size, size] → [n, 1 + patches, width]. */
export class CLIPVisionEmbeddings extends Module {
  readonly class_embedding: Tensor;
  readonly patch_embedding: Conv2d;
  readonly position_embedding: Embedding;

  constructor({ hidden_size, image_size, patch_size, num_channels }: VisionConfig) {
    super();
    const patches = Math.floor(image_size / patch_size) ** 2;
    this.class_embedding = parameter([hidden_size]);
    this.patch_embedding = new Conv2d(num_channels, hidden_size, patch_size, {
      stride: patch_size,
      bias: false,
    });
    this.position_embedding = new Embedding(patches + 1, hidden_size);
  }

  /** Source: transformers' CLIPPreTrainedModel, `initializer_range` 0.02. */
  override reset(generator: Generator): void {
    const width = this.class_embedding.shape[0] as number;
    this.class_embedding.normal_(0, width ** -0.5, { generator });
  }

  forward(pixels: Tensor): Tensor {
    return scope(() => {
      const patches = this.patch_embedding.forward(pixels).flatten(2).transpose(1, 2);
      const [n, , width] = patches.shape as [number, number, number];
      return cat([this.class_embedding.expand([n, 1, width]), patches], 1).add(
        this.position_embedding.weight,
      );
    });
  }
}
