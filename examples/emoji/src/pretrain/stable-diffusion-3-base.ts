import { join } from "node:path";
import {
  type AutoencoderKL,
  CLIPTextModelWithProjection,
  type ClipTokenizer,
  initializeClipEmbeddings,
  loadTextEncoderWithProjection,
  loadTransformer,
  SD3Transformer2DModel,
  StableDiffusion3,
  sd3Conditions,
} from "@spo/diffusion";
import { copyWeights, generatorAt, initialize, Module, noGrad } from "@spo/torch";
import type { BaseModel } from "./base-model.js";
import { clipTextConfig } from "./clip-text-config.js";
import type { PretrainTextToImageConfig } from "./pretrain-text-to-image-config.js";

/** The three networks that learn together. */
class Networks extends Module {
  readonly text_encoder: CLIPTextModelWithProjection;
  readonly text_encoder_2: CLIPTextModelWithProjection;
  readonly transformer: SD3Transformer2DModel;

  constructor(
    text: CLIPTextModelWithProjection,
    text2: CLIPTextModelWithProjection,
    transformer: SD3Transformer2DModel,
  ) {
    super();
    this.text_encoder = text;
    this.text_encoder_2 = text2;
    this.transformer = transformer;
  }
}

/** Layers that begin at 0, so that each block begins as the identity (adaLN-Zero). Source: Peebles & Xie 2023, section 3.2. */
const ZEROS = /(^|\.)(norm1|norm1_context|norm_out)\.linear\.|^proj_out\./;

/**
 * A small Stable Diffusion 3.5 without T5: the velocity of a flow, with timesteps from a logit-normal distribution and no further weights.
 *
 * Source: Esser et al. 2024, sections 3.1 and 4.
 */
export function stableDiffusion3Base(
  config: PretrainTextToImageConfig,
  { tokenizer, vae, latentSize }: { tokenizer: ClipTokenizer; vae: AutoencoderKL; latentSize: number },
): BaseModel {
  const text = clipTextConfig(config, tokenizer);
  const { latent_channels: channels } = vae.config;
  const networks = new Networks(
    new CLIPTextModelWithProjection(text),
    new CLIPTextModelWithProjection(text),
    new SD3Transformer2DModel({
      sample_size: latentSize,
      patch_size: config.patch,
      in_channels: channels,
      out_channels: channels,
      num_layers: config.blocks,
      num_attention_heads: config.heads,
      attention_head_dim: config.width / config.heads,
      caption_projection_dim: config.width,
      joint_attention_dim: 2 * config.textWidth,
      pooled_projection_dim: 2 * config.textWidth,
      pos_embed_max_size: Math.ceil(latentSize / config.patch),
      qk_norm: "rms_norm",
    }),
  );
  const generator = generatorAt(config.seed, "initialize");
  initialize(networks, generator);
  const { text_encoder: textEncoder, text_encoder_2: textEncoder2, transformer } = networks;
  noGrad(() => {
    for (const encoder of [textEncoder, textEncoder2]) initializeClipEmbeddings(encoder, generator);
    for (const [name, value] of transformer.namedParameters()) if (ZEROS.test(name)) value.zero_();
  });
  const pipe = new StableDiffusion3({
    ...{ tokenizer, tokenizer2: tokenizer, textEncoder, textEncoder2, transformer, vae },
    t5Length: 0,
  });
  const width = transformer.config.joint_attention_dim;
  return {
    networks,
    pipe,
    process: pipe.process,
    conditions: (ids) =>
      sd3Conditions({ textEncoder, textEncoder2 }, { clip: ids, clip2: ids, t5: 0 }, width),
    drawTimesteps: (n, generator) => pipe.process.drawTimesteps(n, generator),
    weighted: (errors) => errors.mean(),
    copyFrom: (folder) =>
      copyWeights(
        new Networks(
          loadTextEncoderWithProjection(join(folder, "text_encoder")),
          loadTextEncoderWithProjection(join(folder, "text_encoder_2")),
          loadTransformer(join(folder, "transformer"), SD3Transformer2DModel),
        ),
        networks,
      ),
  };
}
