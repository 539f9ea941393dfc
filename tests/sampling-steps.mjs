// @ts-check
// Samples with a tiny model, and tells what is alive after 100 steps and after each 200 of the next thousand, as JSON.
// Run with --expose-gc: what JavaScript itself has not collected yet is no leak.
import { fileURLToPath } from "node:url";
import {
  AutoencoderKL,
  CLIPTextModel,
  loadTokenizer,
  StableDiffusion,
  sampleLatents,
  UNet2DConditionModel,
} from "@spo/diffusion";
import { Generator, initialize, noGrad, scope } from "@spo/torch";
import { alive } from "./alive.mjs";

const tokenizer = loadTokenizer(fileURLToPath(new URL("../examples/emoji/tokenizer", import.meta.url)));
const textEncoder = new CLIPTextModel({
  vocab_size: tokenizer.vocabSize,
  hidden_size: 16,
  intermediate_size: 32,
  num_hidden_layers: 1,
  num_attention_heads: 2,
});
const unet = new UNet2DConditionModel({
  sample_size: 4,
  block_out_channels: [8, 16],
  layers_per_block: 1,
  down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D"],
  up_block_types: ["CrossAttnUpBlock2D", "UpBlock2D"],
  cross_attention_dim: 16,
  attention_head_dim: 2,
  norm_num_groups: 4,
});
const vae = new AutoencoderKL({
  block_out_channels: [8, 8],
  down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D"],
  up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D"],
  norm_num_groups: 4,
  sample_size: 8,
});
const generator = new Generator(1);
for (const model of [textEncoder, unet, vae]) initialize(model, generator);
const pipe = new StableDiffusion({ tokenizer, textEncoder, unet, vae });

/** 20 steps and the pixels, by each sampler in turn. */
const samplers = /** @type {const} */ (["ddim", "euler", "euler-ancestral", "dpmpp-2m", "pndm"]);
let sum = 0;
function sample(/** @type {number} */ i) {
  noGrad(() =>
    scope(() => {
      const latents = sampleLatents(pipe, {
        prompts: ["red apple", `blue fish ${i % 7}`],
        generators: [new Generator(i), new Generator(i + 1)],
        steps: 20,
        sampler: samplers[i % samplers.length],
        eta: 1,
      });
      sum += pipe.vae.decodeLatents(latents, { tiling: true }).abs().mean().item();
    }),
  );
}

let drawn = 0;
/** @param {number} count */
function after(count) {
  for (let i = 0; i < count; i++) sample(drawn++);
  return { ...alive(), sum };
}

console.log(JSON.stringify([5, 10, 10, 10, 10, 10].map(after)));
