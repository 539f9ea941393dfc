// Models of the size of the embedded default, with random weights: what the benchmarks run on.
import {
  AutoencoderKL,
  type AutoencoderKLConfig,
  addLora,
  loadUnet,
  type SchedulerConfig,
  saveLora,
  saveModel,
  type UNet2DConditionConfig,
  UNet2DConditionModel,
} from "@spo/diffusion";
import { clipProcessor } from "@spo/scorers";
import { Generator, initialize, type Module, noGrad, randn } from "@spo/torch";
import {
  initializeTimeConditioning,
  isTimeConditioning,
  type SpmConfigInput,
  StepAwarePreferenceModel,
  saveSpm,
} from "spo";

/** 4.2 million weights; attention at 8×8 and 4×4. */
const TINY_UNET: UNet2DConditionConfig = {
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
const TINY_VAE: AutoencoderKLConfig = {
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

/** widths: of its blocks. */
export function writeUnet(folder: string, widths: readonly number[] = [32, 64, 128]): void {
  const config = { ...TINY_UNET, block_out_channels: [...widths] };
  saveModel(folder, initialized(new UNet2DConditionModel(config), 1));
}

export function writeVae(folder: string): void {
  saveModel(folder, initialized(new AutoencoderKL(TINY_VAE), 2));
}

export const PROMPTS = 4;

/** A preference model of 64 pixels, 8 × 8 patches. */
export const TINY_SPM: SpmConfigInput = {
  projection_dim: 128,
  text_config: {
    hidden_size: 128,
    intermediate_size: 512,
    num_attention_heads: 4,
    num_hidden_layers: 2,
    vocab_size: 826,
    max_position_embeddings: CONTEXT[0],
    hidden_act: "gelu",
  },
  vision_config: {
    hidden_size: 128,
    intermediate_size: 512,
    num_attention_heads: 4,
    num_hidden_layers: 4,
    image_size: 64,
    patch_size: 8,
    hidden_act: "gelu",
  },
};

/** Weights of a trained model's size everywhere, also where a fresh one has zeros. words: of the tokenizer. */
export function writeSpm(folder: string, words = TINY_SPM.text_config?.vocab_size): void {
  const generator = new Generator(3);
  const config = { ...TINY_SPM, text_config: { ...TINY_SPM.text_config, vocab_size: words } };
  const spm = initialized(new StepAwarePreferenceModel(config), 3);
  initializeTimeConditioning(spm, generator);
  noGrad(() => {
    for (const [name, weight] of spm.namedParameters()) {
      if (isTimeConditioning(name)) weight.add_(randn(weight.shape, { generator }), { alpha: 0.05 });
    }
    spm.logit_scale.fill_(Math.log(100));
  });
  saveSpm(folder, spm, clipProcessor(64));
}

/** An adapter that has learnt something: B is not zero. */
export function writeLora(path: string, unetFolder: string): void {
  const generator = new Generator(4);
  const unet = loadUnet(unetFolder);
  const lora = addLora(unet, { rank: 4 }, generator);
  noGrad(() => {
    for (const layer of lora.layers.values()) layer.lora_B.normal_(0, 0.01, { generator });
  });
  saveLora(path, lora, unet, { layout: "peft" }); // what the peer reads
}

/** Stable Diffusion's. */
export const SCHEDULE: SchedulerConfig = {
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  steps_offset: 1,
};
