import { fileURLToPath } from "node:url";
import {
  AutoencoderKL,
  CLIPTextModel,
  loadTokenizer,
  StableDiffusion,
  UNet2DConditionModel,
} from "@spo/diffusion";
import { Generator, initialize, noGrad } from "@spo/torch";
import { expect, test } from "vitest";
import { TINY } from "../tiny-models.fixture.js";
import { sampleImages } from "./samples.js";

test.each([Number.NaN, Number.POSITIVE_INFINITY])(
  "an image that a decoder's weight of %s has spoilt is refused by its prompt and seed, before it is rounded",
  (value) => {
    const tokenizer = loadTokenizer(
      fileURLToPath(new URL("../../../../examples/emoji/tokenizer", import.meta.url)),
    );
    const vocab_size = Object.keys(tokenizer.options.vocabulary).length;
    const models = {
      textEncoder: new CLIPTextModel({ ...TINY.sd15.text_encoder, vocab_size }),
      unet: new UNet2DConditionModel(TINY.sd15.unet),
      vae: new AutoencoderKL(TINY.sd15.vae),
    };
    for (const module of Object.values(models)) initialize(module, new Generator(1));
    const pipe = new StableDiffusion({ tokenizer, ...models });
    const settings = { seed: 6, perPrompt: 1, steps: 1, guidanceScale: 1, eta: 0 };
    const first = (): object => sampleImages(pipe, ["a red fox"], settings).next();
    expect(first).not.toThrow();
    noGrad(() => models.vae.decoder.conv_out.bias?.fill_(value));
    expect(first).toThrow(
      expect.objectContaining({
        code: "NUMERIC",
        message: expect.stringMatching(/"a red fox", seed 6.*decoder\.conv_out\.bias/s),
      }),
    );
  },
);
