// Models of the size of the embedded default, with random weights: what the benchmarks run on.
import {
  AutoencoderKL,
  type AutoencoderKLConfig,
  saveModel,
  type UNet2DConditionConfig,
  UNet2DConditionModel,
} from "@spo/diffusion";
import { Generator, initialize, type Module } from "@spo/torch";

/** 4.2 million weights; attention at 8×8 and 4×4. */
export const TINY_UNET: UNet2DConditionConfig = {
  sample_size: 16,
  in_channels: 4,
  out_channels: 4,
  block_out_channels: [32, 64, 128],
  layers_per_block: 1,
  down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
  up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
  cross_attention_dim: 128,
  attention_head_dim: 4,
  norm_num_groups: 16,
};

/** Latents [4, 16, 16] ↔ pixels [3, 64, 64]. */
export const TINY_VAE: AutoencoderKLConfig = {
  block_out_channels: [16, 32, 64],
  down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
  up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
  layers_per_block: 1,
  norm_num_groups: 8,
  sample_size: 64,
  mid_block_add_attention: false,
};

/** Tokens of a prompt, and the width of their encoding. */
export const CONTEXT = [12, 128] as const;

export function initialized<M extends Module>(module: M, seed: number): M {
  initialize(module, new Generator(seed));
  return module;
}

export function writeUnet(folder: string): void {
  saveModel(folder, initialized(new UNet2DConditionModel(TINY_UNET), 1));
}

export function writeVae(folder: string): void {
  saveModel(folder, initialized(new AutoencoderKL(TINY_VAE), 2));
}
