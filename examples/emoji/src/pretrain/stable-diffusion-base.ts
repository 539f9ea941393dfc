import { join } from "node:path";
import {
  type AutoencoderKL,
  CLIPTextModel,
  type ClipTokenizer,
  loadTextEncoder,
  loadUnet,
  StableDiffusion,
  UNet2DConditionModel,
  VpSchedule,
} from "@spo/diffusion";
import {
  copyWeights,
  type Generator,
  generatorAt,
  initialize,
  Module,
  rand,
  scope,
  tensor,
} from "@spo/torch";
import type { BaseModel } from "./base-model.js";
import { clipTextConfig } from "./clip-text-config.js";
import type { PretrainTextToImageConfig } from "./pretrain-text-to-image-config.js";

/** The two networks that learn together. */
class Networks extends Module {
  readonly text_encoder: CLIPTextModel;
  readonly unet: UNet2DConditionModel;

  constructor(text: CLIPTextModel, unet: UNet2DConditionModel) {
    super();
    this.text_encoder = text;
    this.unet = unet;
  }
}

/** A small Stable Diffusion: noise prediction, min-SNR weighted (Hang et al. 2023, eq. 8). */
export function stableDiffusionBase(
  config: PretrainTextToImageConfig,
  { tokenizer, vae, latentSize }: { tokenizer: ClipTokenizer; vae: AutoencoderKL; latentSize: number },
): BaseModel {
  const { channels, attention } = config;
  const networks = new Networks(
    new CLIPTextModel(clipTextConfig(config, tokenizer)),
    new UNet2DConditionModel({
      sample_size: latentSize,
      in_channels: 4,
      out_channels: 4,
      block_out_channels: channels,
      layers_per_block: 1,
      down_block_types: attention.map((on) => (on ? "CrossAttnDownBlock2D" : "DownBlock2D")),
      up_block_types: attention.toReversed().map((on) => (on ? "CrossAttnUpBlock2D" : "UpBlock2D")),
      cross_attention_dim: config.textWidth,
      attention_head_dim: config.heads,
      norm_num_groups: config.groups,
    }),
  );
  initialize(networks, generatorAt(config.seed, "initialize"));
  const process = new VpSchedule();
  return {
    networks,
    pipe: new StableDiffusion({ tokenizer, textEncoder: networks.text_encoder, unet: networks.unet, vae }),
    process,
    conditions: (ids) => ({ context: networks.text_encoder.forward(ids).lastHiddenState }),
    drawTimesteps: (n, generator) => stratifiedTimesteps(n, process.trainTimesteps, generator),
    weighted: (errors, timesteps) =>
      scope(() => {
        const alphaBar = tensor(
          timesteps.map((t) => process.alphaBar(t)),
          { device: errors.device },
        );
        const snr = alphaBar.div(alphaBar.neg().add(1));
        return errors.mul(snr.clamp(null, config.snrClip).div(snr)).mean();
      }),
    copyFrom: (folder) =>
      copyWeights(
        new Networks(loadTextEncoder(join(folder, "text_encoder")), loadUnet(join(folder, "unet"))),
        networks,
      ),
  };
}

/** One timestep from each of n equal parts of [0, count): less noise in the loss than independent draws. */
function stratifiedTimesteps(n: number, count: number, generator: Generator): number[] {
  const places = scope(() => rand([n], { generator }).toNumbers());
  return places.map((u, i) => Math.min(count - 1, Math.floor(((i + u) * count) / n)));
}
