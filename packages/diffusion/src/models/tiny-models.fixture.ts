// Models of both families with random weights, small enough to be made in each test.
import { Generator, initialize } from "@spo/torch";
import { AutoencoderKL, type AutoencoderKLConfig } from "./autoencoder-kl.js";
import { type CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection } from "./clip-text.js";
import type { FluxTransformer2DConfig } from "./flux-transformer-2d.js";
import type { SD3Transformer2DConfig } from "./sd3-transformer-2d.js";
import { type UNet2DConditionConfig, UNet2DConditionModel } from "./unet-2d-condition.js";

export type TinyFamily = "sd15" | "sdxl";

export const UNETS: Record<TinyFamily, UNet2DConditionConfig> = {
  sd15: {
    sample_size: 8,
    block_out_channels: [8, 16],
    layers_per_block: 2,
    down_block_types: ["CrossAttnDownBlock2D", "DownBlock2D"],
    up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D"],
    cross_attention_dim: 12,
    attention_head_dim: 2,
    norm_num_groups: 4,
  },
  sdxl: {
    sample_size: 8,
    block_out_channels: [8, 12, 16],
    layers_per_block: 1,
    down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    cross_attention_dim: 20,
    attention_head_dim: [1, 2, 2],
    transformer_layers_per_block: [1, 1, 2],
    use_linear_projection: true,
    norm_num_groups: 4,
    addition_embed_type: "text_time",
    addition_time_embed_dim: 4,
    projection_class_embeddings_input_dim: 34,
  },
};

export const SD3: SD3Transformer2DConfig = {
  sample_size: 8,
  in_channels: 4,
  out_channels: 4,
  num_layers: 2,
  attention_head_dim: 4,
  num_attention_heads: 2,
  joint_attention_dim: 12,
  caption_projection_dim: 8,
  pooled_projection_dim: 10,
  pos_embed_max_size: 6,
  dual_attention_layers: [0],
  qk_norm: "rms_norm",
};

export const FLUX: FluxTransformer2DConfig = {
  in_channels: 16,
  num_layers: 1,
  num_single_layers: 1,
  attention_head_dim: 8,
  num_attention_heads: 2,
  joint_attention_dim: 12,
  pooled_projection_dim: 10,
  guidance_embeds: true,
  axes_dims_rope: [2, 2, 4],
};

const text = (width: number, layers: number, more: Partial<CLIPTextConfig> = {}): CLIPTextConfig => ({
  vocab_size: 50,
  hidden_size: width,
  intermediate_size: 2 * width,
  num_hidden_layers: layers,
  num_attention_heads: 2,
  ...more,
});

export const TEXTS = {
  sd15: text(12, 2),
  sdxl: text(8, 2),
  sdxl2: text(12, 3, { projection_dim: 10, hidden_act: "gelu" }),
};

export const VAE: AutoencoderKLConfig = {
  block_out_channels: [4, 8],
  down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D"],
  up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D"],
  norm_num_groups: 2,
};

/** The models of a pipeline; the same seed gives the same weights. */
export function tinyModels(family: TinyFamily, seed = 1) {
  const generator = new Generator(seed);
  const unet = new UNet2DConditionModel(UNETS[family]);
  const vae = new AutoencoderKL(VAE);
  const text_encoder = new CLIPTextModel(TEXTS[family]);
  const text_encoder_2 = family === "sdxl" ? new CLIPTextModelWithProjection(TEXTS.sdxl2) : undefined;
  for (const model of [unet, vae, text_encoder, text_encoder_2]) if (model) initialize(model, generator);
  return { unet, vae, text_encoder, ...(text_encoder_2 && { text_encoder_2 }) };
}
