// Configs of models of the real classes, small enough to be made in each test.
import {
  type StableDiffusionConfigs,
  type StableDiffusionXLConfigs,
  stableDiffusion,
  stableDiffusionXL,
} from "@spo/diffusion";

const clip = {
  vocab_size: 50,
  hidden_size: 12,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
};
const VAE = {
  block_out_channels: [4, 8],
  down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D"],
  up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D"],
  norm_num_groups: 2,
} satisfies StableDiffusionConfigs["vae"];

/** Pipelines of both families. */
export const TINY: { sd15: StableDiffusionConfigs; sdxl: StableDiffusionXLConfigs } = {
  sd15: {
    unet: {
      sample_size: 8,
      block_out_channels: [8, 16],
      layers_per_block: 1,
      down_block_types: ["CrossAttnDownBlock2D", "DownBlock2D"],
      up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D"],
      cross_attention_dim: 12,
      attention_head_dim: 2,
      norm_num_groups: 4,
    },
    vae: VAE,
    text_encoder: clip,
    scheduler: stableDiffusion.published.scheduler,
  },
  sdxl: {
    unet: {
      sample_size: 8,
      block_out_channels: [8, 16],
      layers_per_block: 1,
      down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D"],
      up_block_types: ["CrossAttnUpBlock2D", "UpBlock2D"],
      cross_attention_dim: 24,
      attention_head_dim: [1, 2],
      transformer_layers_per_block: [1, 2],
      use_linear_projection: true,
      norm_num_groups: 4,
      addition_embed_type: "text_time",
      addition_time_embed_dim: 4,
      projection_class_embeddings_input_dim: 34,
    },
    vae: VAE,
    text_encoder: clip,
    text_encoder_2: { ...clip, projection_dim: 10 },
    scheduler: stableDiffusionXL.published.scheduler,
  },
};

/** A preference model whose texts have the pipelines' vocabulary. */
export const TINY_SPM = {
  projection_dim: 8,
  text_config: clip,
  vision_config: { ...clip, image_size: 16, patch_size: 8 },
};

/** A preference model whose two towers differ in every size, so that neither can be taken for the other. */
export const UNEVEN_SPM = {
  projection_dim: 12,
  text_config: {
    hidden_size: 16,
    intermediate_size: 24,
    num_attention_heads: 2,
    num_hidden_layers: 2,
    vocab_size: 50,
    max_position_embeddings: 10,
    hidden_act: "gelu",
  },
  vision_config: {
    hidden_size: 24,
    intermediate_size: 32,
    num_attention_heads: 3,
    num_hidden_layers: 3,
    image_size: 16,
    patch_size: 4,
    hidden_act: "gelu",
  },
} as const;
