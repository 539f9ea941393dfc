// Models of the real classes that are small enough to train in a second, with random weights, and data to train them on.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  AutoencoderKL,
  addLora,
  CLIPTextModel,
  CLIPTextModelWithProjection,
  type ClipTokenizer,
  initializeClipEmbeddings,
  loadTokenizer,
  SD3Transformer2DModel,
  StableDiffusion,
  StableDiffusion3,
  StableDiffusionXL,
  saveLora,
  stableDiffusion,
  stableDiffusionXL,
  UNet2DConditionModel,
} from "@spo/diffusion";
import { clipProcessor } from "@spo/scorers";
import { Generator, initialize, noGrad } from "@spo/torch";
import { parquetWriteBuffer } from "hyparquet-writer";
import sharp from "sharp";
import { initializeTimeConditioning, StepAwarePreferenceModel, saveSpm } from "spo";

/** Vocabulary and merges that are in the repository. */
const TOKENIZER = fileURLToPath(new URL("../examples/emoji/tokenizer", import.meta.url));

/** Side of the images, pixels; the VAE makes latents of a quarter of it. */
export const SIDE = 16;

export const PROMPTS = ["red apple", "green leaf", "blue fish", "yellow sun", "white cloud"];

/** What `makeTinyWorld` writes. */
export interface TinyWorld {
  model: string;
  spm: string;
  pairs: string;
  prompts: string;
  lora: string;
}

/** Writes a diffusion model, a preference model, a LoRA, preference pairs and a prompt list into a folder. */
export async function makeTinyWorld(folder: string, family: keyof typeof SAVE = "sd15"): Promise<TinyWorld> {
  mkdirSync(folder, { recursive: true });
  const at = (name: string): string => join(folder, name);
  const world = {
    model: at("model"),
    spm: at("spm"),
    pairs: at("pairs.parquet"),
    prompts: at("prompts.txt"),
    lora: at("lora.safetensors"),
  };
  const tokenizer = loadTokenizer(TOKENIZER);
  const denoiser = SAVE[family](world.model, tokenizer);
  saveTinySpm(world.spm, tokenizer);
  const generator = new Generator(3);
  const lora = addLora(denoiser, { rank: 2 }, generator);
  noGrad(() => {
    for (const { lora_B } of lora.layers.values()) lora_B.normal_(0, 0.3, { generator });
  });
  saveLora(world.lora, lora, denoiser);
  await writeTinyPairs(world.pairs);
  writeFileSync(world.prompts, `${PROMPTS.join("\n")}\n`);
  return world;
}

/** Each writes a model in diffusers layout, and gives its denoiser. */
const SAVE = { sd15: saveTinySd15, sdxl: saveTinySdxl, sd3: saveTinySd3 };

const VAE = {
  block_out_channels: [8, 8, 8],
  down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
  up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
  norm_num_groups: 4,
  sample_size: SIDE,
  mid_block_add_attention: false,
  scaling_factor: 1,
} satisfies ConstructorParameters<typeof AutoencoderKL>[0];

const UNET = {
  sample_size: SIDE / 4,
  block_out_channels: [8, 16],
  layers_per_block: 1,
  down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D"],
  up_block_types: ["CrossAttnUpBlock2D", "UpBlock2D"],
  norm_num_groups: 4,
} satisfies ConstructorParameters<typeof UNet2DConditionModel>[0];

const TOWER = { hidden_size: 16, intermediate_size: 32, num_attention_heads: 2, num_hidden_layers: 1 };

function saveTinySd15(folder: string, tokenizer: ClipTokenizer): UNet2DConditionModel {
  const generator = new Generator(1);
  const textEncoder = new CLIPTextModel({ ...TOWER, vocab_size: vocabularySize(tokenizer) });
  const unet = new UNet2DConditionModel({ ...UNET, cross_attention_dim: 16, attention_head_dim: 2 });
  const vae = new AutoencoderKL(VAE);
  for (const module of [textEncoder, unet, vae]) initialize(module, generator);
  noGrad(() => initializeClipEmbeddings(textEncoder, generator));
  const schedulerConfig = { ...stableDiffusion.published.scheduler, _class_name: "DDIMScheduler" };
  new StableDiffusion({ tokenizer, textEncoder, unet, vae, schedulerConfig }).save(folder);
  return unet;
}

function saveTinySdxl(folder: string, tokenizer: ClipTokenizer): UNet2DConditionModel {
  const generator = new Generator(1);
  const text = { ...TOWER, num_hidden_layers: 2, vocab_size: vocabularySize(tokenizer) };
  const first = new CLIPTextModel(text);
  const second = new CLIPTextModelWithProjection({ ...text, projection_dim: 10, hidden_act: "gelu" });
  const unet = new UNet2DConditionModel({
    ...UNET,
    cross_attention_dim: 32,
    attention_head_dim: [1, 2],
    transformer_layers_per_block: [1, 2],
    use_linear_projection: true,
    addition_embed_type: "text_time",
    addition_time_embed_dim: 4,
    projection_class_embeddings_input_dim: 6 * 4 + 10,
  });
  const vae = new AutoencoderKL(VAE);
  for (const module of [first, second, unet, vae]) initialize(module, generator);
  noGrad(() => {
    for (const encoder of [first, second]) initializeClipEmbeddings(encoder, generator);
  });
  const parts = { tokenizer, tokenizer2: tokenizer, textEncoder: first, textEncoder2: second, unet, vae };
  new StableDiffusionXL({
    ...parts,
    schedulerConfig: stableDiffusionXL.published.scheduler,
  }).save(folder);
  return unet;
}

/** Without T5. */
export function saveTinySd3(folder: string, tokenizer = loadTokenizer(TOKENIZER)): SD3Transformer2DModel {
  const generator = new Generator(1);
  const text = { ...TOWER, vocab_size: vocabularySize(tokenizer), projection_dim: 12 };
  const textEncoder = new CLIPTextModelWithProjection(text);
  const textEncoder2 = new CLIPTextModelWithProjection(text);
  const transformer = new SD3Transformer2DModel({
    ...{ sample_size: SIDE / 4, patch_size: 2, in_channels: 4, out_channels: 4, pos_embed_max_size: 4 },
    ...{ num_layers: 2, num_attention_heads: 2, attention_head_dim: 8, caption_projection_dim: 16 },
    ...{
      joint_attention_dim: 32,
      pooled_projection_dim: 24,
      dual_attention_layers: [0],
      qk_norm: "rms_norm",
    },
  });
  const flow = { shift_factor: 0.1, use_quant_conv: false, use_post_quant_conv: false };
  const vae = new AutoencoderKL({ ...VAE, ...flow });
  for (const module of [textEncoder, textEncoder2, transformer, vae]) initialize(module, generator);
  noGrad(() => {
    for (const encoder of [textEncoder, textEncoder2]) initializeClipEmbeddings(encoder, generator);
  });
  new StableDiffusion3({
    ...{ tokenizer, tokenizer2: tokenizer, textEncoder, textEncoder2, transformer, vae },
    schedulerConfig: { shift: 3 },
  }).save(folder);
  return transformer;
}

function saveTinySpm(folder: string, tokenizer: ClipTokenizer): void {
  const generator = new Generator(2);
  const spm = new StepAwarePreferenceModel({
    projection_dim: 8,
    text_config: { ...TOWER, vocab_size: vocabularySize(tokenizer) },
    vision_config: { ...TOWER, image_size: 16, patch_size: 8 },
  });
  initialize(spm, generator);
  initializeTimeConditioning(spm, generator);
  noGrad(() => {
    for (const [name, value] of spm.namedParameters()) {
      if (/embedding|projection|class/.test(name)) value.normal_(0, 0.5, { generator });
      if (name === "logit_scale") value.fill_(3);
    }
  });
  saveSpm(folder, spm, clipProcessor(16));
}

/** Ids are numbered without holes. */
function vocabularySize({ options }: ClipTokenizer): number {
  return Object.keys(options.vocabulary).length;
}

/** Plain squares: the winner has its caption's colour, the loser another. */
async function writeTinyPairs(path: string): Promise<void> {
  const colours = ["#d22", "#2a2", "#22d", "#dd2", "#fff"];
  const square = async (colour: string): Promise<Uint8Array> =>
    new Uint8Array(
      await sharp({ create: { width: SIDE, height: SIDE, channels: 3, background: colour } })
        .png()
        .toBuffer(),
    );
  const images = await Promise.all(colours.map(square));
  const rows = Array.from({ length: 24 }, (_, i) => ({
    caption: PROMPTS[i % 5] as string,
    win: images[i % 5] as Uint8Array,
    lose: images[(i + 1 + (i % 3)) % 5] as Uint8Array,
    first: i % 2 === 0,
    split: i < 18 ? "train" : "test",
  }));
  const buffer = parquetWriteBuffer({
    columnData: [
      { name: "caption", data: rows.map(({ caption }) => caption), type: "STRING" },
      { name: "jpg_0", data: rows.map(({ first, win, lose }) => (first ? win : lose)), type: "BYTE_ARRAY" },
      { name: "jpg_1", data: rows.map(({ first, win, lose }) => (first ? lose : win)), type: "BYTE_ARRAY" },
      { name: "label_0", data: rows.map(({ first }) => Number(first)), type: "DOUBLE" },
      { name: "label_1", data: rows.map(({ first }) => Number(!first)), type: "DOUBLE" },
      { name: "num_example_per_prompt", data: rows.map(() => 4), type: "INT32" },
      { name: "split", data: rows.map(({ split }) => split), type: "STRING" },
    ],
  });
  writeFileSync(path, new Uint8Array(buffer));
}
