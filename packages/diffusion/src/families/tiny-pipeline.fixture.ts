// Whole pipelines of tiny random models, for tests that need no files.
import { eye, Generator, initialize, type Module, noGrad } from "@spo/torch";
import { AutoencoderKL } from "../models/autoencoder-kl.js";
import { type CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection } from "../models/clip-text.js";
import { FluxTransformer2DModel } from "../models/flux-transformer-2d.js";
import { SD3Transformer2DModel } from "../models/sd3-transformer-2d.js";
import { T5EncoderModel } from "../models/t5-encoder.js";
import { FLUX, SD3, TEXTS, type TinyFamily, UNETS, VAE } from "../models/tiny-models.fixture.js";
import { UNet2DConditionModel } from "../models/unet-2d-condition.js";
import type { SchedulerConfig } from "../samplers/scheduler-config.js";
import { ClipTokenizer } from "../tokenizer/clip-tokenizer.js";
import { T5Tokenizer } from "../tokenizer/t5-tokenizer.js";
import { Flux } from "./flux.js";
import { StableDiffusion } from "./stable-diffusion.js";
import { StableDiffusion3 } from "./stable-diffusion-3.js";
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

/** Knows the small letters as pieces, and maps no characters. */
export const letterT5Tokenizer = (): T5Tokenizer =>
  new T5Tokenizer({
    pieces: ["<pad>", "</s>", "<unk>", "▁", ..."abcdefghijklmnopqrstuvwxyz"].map((piece, i) => [piece, -i]),
    unknownId: 2,
    characterMap: "AAAAAA==",
    specialTokens: { "<pad>": 0, "</s>": 1, "<unk>": 2 },
  });

/** A pipeline of a flow family, whose weights follow from the seed. */
export function tinyFlowPipeline(family: "sd3" | "flux", seed = 1): StableDiffusion3 | Flux {
  const tokenizer = letterTokenizer();
  const t5Tokenizer = letterT5Tokenizer();
  const text = (hidden_size: number): CLIPTextConfig => ({
    ...TEXTS.sd15,
    hidden_size,
    projection_dim: hidden_size,
    vocab_size: tokenizer.vocabSize,
  });
  const vae = new AutoencoderKL({
    ...VAE,
    shift_factor: 0.1,
    use_quant_conv: false,
    use_post_quant_conv: false,
  });
  const t5 = new T5EncoderModel({
    ...{ vocab_size: t5Tokenizer.vocabSize, d_model: 12, d_kv: 4, d_ff: 8, num_layers: 1, num_heads: 2 },
    feed_forward_proj: "gated-gelu",
  });
  const parts = { vae, t5Length: 6, schedulerConfig: { shift: 3 } };
  const valued = <M extends Module>(model: M): M => {
    initialize(model, new Generator(seed));
    return model;
  };
  for (const model of [vae, t5]) valued(model);
  if (family === "flux")
    return new Flux({
      ...parts,
      ...{ tokenizer, textEncoder: valued(new CLIPTextModel(text(10))) },
      ...{ tokenizer2: t5Tokenizer, textEncoder2: t5, transformer: valued(new FluxTransformer2DModel(FLUX)) },
    });
  return new StableDiffusion3({
    ...parts,
    ...{ tokenizer, textEncoder: withIdentity(valued(new CLIPTextModelWithProjection(text(4)))) },
    tokenizer2: letterTokenizer({ padToken: "!" }),
    textEncoder2: valued(new CLIPTextModelWithProjection(text(6))),
    t5: { tokenizer: t5Tokenizer, encoder: t5 },
    transformer: valued(new SD3Transformer2DModel(SD3)),
  });
}

/** SD3's first text encoder projects by the identity. */
function withIdentity(model: CLIPTextModelWithProjection): CLIPTextModelWithProjection {
  noGrad(() => model.text_projection.weight.copy_(eye(model.config.hidden_size)));
  return model;
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
