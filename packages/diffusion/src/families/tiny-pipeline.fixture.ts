// Whole pipelines of tiny random models, for tests that need no files.
import { Generator, initialize } from "@spo/torch";
import { AutoencoderKL } from "../models/autoencoder-kl.js";
import { CLIPTextModel, CLIPTextModelWithProjection } from "../models/clip-text.js";
import { TEXTS, type TinyFamily, UNETS, VAE } from "../models/tiny-models.fixture.js";
import { UNet2DConditionModel } from "../models/unet-2d-condition.js";
import type { SchedulerConfig } from "../samplers/scheduler-config.js";
import { ClipTokenizer } from "../tokenizer/clip-tokenizer.js";
import { StableDiffusion } from "./stable-diffusion.js";
import { StableDiffusionXL } from "./stable-diffusion-xl.js";

/** Knows the small letters and no merges: 26 letters inside a word, 26 at its end, two special tokens and `!`. */
export function letterTokenizer({ padToken }: { padToken?: string } = {}): ClipTokenizer {
  const letters = [..."abcdefghijklmnopqrstuvwxyz"];
  const tokens = [
    "!",
    ...letters,
    ...letters.map((letter) => `${letter}</w>`),
    "<|startoftext|>",
    "<|endoftext|>",
  ];
  const vocabulary = Object.fromEntries(tokens.map((token, id) => [token, id]));
  return new ClipTokenizer({ vocabulary, merges: [], padToken, modelMaxLength: 8 });
}

/** A pipeline whose weights follow from the seed. */
export function tinyPipeline(
  family: TinyFamily,
  { seed = 1, schedulerConfig }: { seed?: number; schedulerConfig?: SchedulerConfig } = {},
): StableDiffusion | StableDiffusionXL {
  const generator = new Generator(seed);
  const tokenizer = letterTokenizer();
  const vocab_size = tokenizer.vocabSize;
  const unet = new UNet2DConditionModel(UNETS[family]);
  const vae = new AutoencoderKL(VAE);
  const textEncoder = new CLIPTextModel({ ...TEXTS[family], vocab_size });
  const textEncoder2 = new CLIPTextModelWithProjection({ ...TEXTS.sdxl2, vocab_size });
  for (const model of [unet, vae, textEncoder, textEncoder2]) initialize(model, generator);
  if (family === "sd15")
    return new StableDiffusion({
      tokenizer,
      textEncoder,
      unet,
      vae,
      schedulerConfig,
    });
  return new StableDiffusionXL({
    tokenizer,
    tokenizer2: letterTokenizer({ padToken: "!" }),
    textEncoder,
    textEncoder2,
    unet,
    vae,
    schedulerConfig,
  });
}
