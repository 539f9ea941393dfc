// An SD3, and a latent reward model of its latents, small enough to be made in each test.
import { fileURLToPath } from "node:url";
import {
  AutoencoderKL,
  addLora,
  CLIPTextModelWithProjection,
  initializeClipEmbeddings,
  loadTokenizer,
  SD3Backbone,
  type SD3Transformer2DConfig,
  SD3Transformer2DModel,
  StableDiffusion3,
} from "@spo/diffusion";
import { Generator, initialize, noGrad } from "@spo/torch";
import { DinaLrm } from "./spm/dina-lrm.js";
import { saveDinaLrm } from "./spm/dina-lrm-files.js";
import { TINY } from "./tiny-models.fixture.js";

const TRANSFORMER = {
  ...{ sample_size: 8, patch_size: 2, in_channels: 4, out_channels: 4, pos_embed_max_size: 6 },
  ...{ num_layers: 2, num_attention_heads: 2, attention_head_dim: 8, caption_projection_dim: 16 },
  ...{ joint_attention_dim: 28, pooled_projection_dim: 24, dual_attention_layers: [0] },
  qk_norm: "rms_norm",
} satisfies SD3Transformer2DConfig;

/** Writes an SD3 without T5 on latents of 8×8. */
export function saveTinySd3(folder: string): void {
  const tokenizer = loadTokenizer(
    fileURLToPath(new URL("../../../examples/emoji/tokenizer", import.meta.url)),
  );
  const generator = new Generator(1);
  const vocab_size = Object.keys(tokenizer.options.vocabulary).length;
  const text = { ...TINY.sd15.text_encoder, vocab_size, projection_dim: 12 };
  const [textEncoder, textEncoder2] = [
    new CLIPTextModelWithProjection(text),
    new CLIPTextModelWithProjection(text),
  ];
  const transformer = new SD3Transformer2DModel(TRANSFORMER);
  const vae = new AutoencoderKL({
    ...TINY.sd15.vae,
    ...{ shift_factor: 0.1, use_quant_conv: false, use_post_quant_conv: false },
  });
  for (const model of [textEncoder, textEncoder2, transformer, vae]) initialize(model, generator);
  noGrad(() => {
    for (const encoder of [textEncoder, textEncoder2]) initializeClipEmbeddings(encoder, generator);
  });
  const models = { textEncoder, textEncoder2, transformer, vae };
  new StableDiffusion3({
    ...{ tokenizer, tokenizer2: tokenizer, ...models },
    schedulerConfig: { shift: 3 },
  }).save(folder);
}

/** Writes a DiNa-LRM of one block for that SD3. */
export function saveTinyDina(folder: string): void {
  const generator = new Generator(5);
  const backbone = new SD3Backbone(TRANSFORMER, 1);
  const module = new DinaLrm(
    {
      model: {
        ...{ num_transformer_layers: 1, use_lora: true, visual_head_idx: [0, 1], text_head_idx: [1] },
        reward_head: { num_queries: 2, num_attn_heads: 2 },
      },
    },
    backbone,
  );
  const lora = addLora(backbone, { rank: 2, alpha: 4, targets: ["to_q", "to_v", "add_k_proj"] }, generator);
  initialize(module, generator);
  noGrad(() => {
    for (const [name, value] of module.namedParameters())
      if (/lora_B|query_tokens|layer_embed/.test(name)) value.normal_(0, 0.5, { generator });
  });
  saveDinaLrm(folder, { module, lora });
}
