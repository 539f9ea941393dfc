// The configs of the published base models, for files that come without: Stable Diffusion 1.5 and SDXL base 1.0.
import type { AutoencoderKLConfig } from "../models/autoencoder-kl.js";
import type { CLIPTextConfig } from "../models/clip-text.js";
import type { UNet2DConditionConfig } from "../models/unet-2d-condition.js";
import type { SchedulerConfig } from "../samplers/scheduler-config.js";

/** The config.json of each model of a pipeline. */
export interface PipelineConfigs {
  unet: UNet2DConditionConfig;
  vae: AutoencoderKLConfig;
  text_encoder: CLIPTextConfig;
  /** SDXL's second one. */
  text_encoder_2?: CLIPTextConfig;
  scheduler: SchedulerConfig;
  /** As model_index.json calls the pipeline: it decides what of the scheduler is repaired. Default: nothing is. */
  pipeline?: string;
}

/** OpenAI's CLIP ViT-L/14. */
const CLIP_L: CLIPTextConfig = {
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
const CLIP_BIG_G: CLIPTextConfig = {
  ...CLIP_L,
  hidden_size: 1280,
  intermediate_size: 5120,
  num_hidden_layers: 32,
  num_attention_heads: 20,
  hidden_act: "gelu",
  projection_dim: 1280,
};

const vae = (scalingFactor: number, sampleSize: number): AutoencoderKLConfig => ({
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

const SCHEDULE: SchedulerConfig = {
  num_train_timesteps: 1000,
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  steps_offset: 1,
  set_alpha_to_one: false,
  clip_sample: false,
};

/** Configs of the published models of each family: what a checkpoint in one file does not say of itself. */
export const PUBLISHED: Readonly<Record<"sd15" | "sdxl", PipelineConfigs>> = {
  sd15: {
    unet: {
      sample_size: 64,
      in_channels: 4,
      out_channels: 4,
      block_out_channels: [320, 640, 1280, 1280],
      layers_per_block: 2,
      down_block_types: [
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
        "DownBlock2D",
      ],
      up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
      cross_attention_dim: 768,
      attention_head_dim: 8,
      norm_num_groups: 32,
    },
    vae: vae(0.18215, 512),
    text_encoder: CLIP_L,
    scheduler: { _class_name: "PNDMScheduler", skip_prk_steps: true, ...SCHEDULE },
  },
  sdxl: {
    unet: {
      sample_size: 128,
      in_channels: 4,
      out_channels: 4,
      block_out_channels: [320, 640, 1280],
      layers_per_block: 2,
      down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
      up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
      cross_attention_dim: 2048,
      attention_head_dim: [5, 10, 20],
      transformer_layers_per_block: [1, 2, 10],
      use_linear_projection: true,
      norm_num_groups: 32,
      addition_embed_type: "text_time",
      addition_time_embed_dim: 256,
      projection_class_embeddings_input_dim: 2816,
    },
    vae: vae(0.13025, 1024),
    text_encoder: CLIP_L,
    text_encoder_2: CLIP_BIG_G,
    scheduler: {
      _class_name: "EulerDiscreteScheduler",
      skip_prk_steps: true, // as published, though Euler has no such steps: for a change to PNDM
      ...SCHEDULE,
      timestep_spacing: "leading",
    },
  },
};

/** What tells architectures apart. */
export interface UnetSignature {
  /** Width of the first level. */
  width: number;
  /** Channels of the input: 4 are latents alone. */
  inputs: number;
  /** Width of the text's hidden states. */
  context: number;
  /** Width of the further conditions; 0 without. */
  conditions: number;
}

/** Architectures of the same code that are known and not supported. */
const OTHERS: readonly [string, (of: UnetSignature) => boolean][] = [
  ["an inpainting model (9 input channels)", ({ inputs }) => inputs === 9],
  ["an image-editing model (8 input channels)", ({ inputs }) => inputs === 8],
  ["Stable Diffusion 2", ({ context }) => context === 1024],
  ["the SDXL refiner", ({ conditions }) => conditions === 2560],
];

/** The family of a UNet with these sizes, or what else it is, in words. */
export function publishedFamily(of: UnetSignature): "sd15" | "sdxl" | { otherwise: string } {
  if (of.width === 320 && of.inputs === 4) {
    if (of.context === 768 && of.conditions === 0) return "sd15";
    if (of.context === 2048 && of.conditions === 2816) return "sdxl";
  }
  const other = OTHERS.find(([, test]) => test(of))?.[0];
  return {
    otherwise:
      other ??
      `an architecture of width ${of.width}, ${of.inputs} input channels, text width ${of.context} and ${of.conditions} further conditions`,
  };
}
