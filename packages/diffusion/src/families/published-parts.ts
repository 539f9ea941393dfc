// Configs of the published base models, as far as Stable Diffusion 1.5 and SDXL base 1.0 have them in common.
import type { AutoencoderKLConfig } from "../models/autoencoder-kl.js";
import type { CLIPTextConfig } from "../models/clip-text.js";
import type { SchedulerConfig } from "../samplers/scheduler-config.js";

/** OpenAI's CLIP ViT-L/14. */
export const CLIP_L: CLIPTextConfig = {
  vocab_size: 49408,
  hidden_size: 768,
  intermediate_size: 3072,
  num_hidden_layers: 12,
  num_attention_heads: 12,
  max_position_embeddings: 77,
  hidden_act: "quick_gelu",
  layer_norm_eps: 1e-5,
  projection_dim: 768,
  bos_token_id: 0,
  eos_token_id: 2,
  pad_token_id: 1,
};

/** OpenCLIP's ViT-bigG/14. */
export const CLIP_BIG_G: CLIPTextConfig = {
  ...CLIP_L,
  hidden_size: 1280,
  intermediate_size: 5120,
  num_hidden_layers: 32,
  num_attention_heads: 20,
  hidden_act: "gelu",
  projection_dim: 1280,
};

/** The VAE; sampleSize: side of the images in pixels. */
export const publishedVae = (scalingFactor: number, sampleSize: number): AutoencoderKLConfig => ({
  in_channels: 3,
  out_channels: 3,
  latent_channels: 4,
  block_out_channels: [128, 256, 512, 512],
  down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
  up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
  layers_per_block: 2,
  norm_num_groups: 32,
  sample_size: sampleSize,
  scaling_factor: scalingFactor,
});

/** The noise levels, whatever the sampler. */
export const SCHEDULE: SchedulerConfig = {
  num_train_timesteps: 1000,
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  steps_offset: 1,
  set_alpha_to_one: false,
  clip_sample: false,
};
