// Settings of the recipe that trains the small text-to-image model. No tensor code: help and checks need no engine.

import { modelText, pathText } from "@spo/records/config";
import { deviceSettings, MOST_CHANNELS, MOST_FACTOR, MOST_SAMPLES, MOST_SEED, MOST_STEPS } from "spo/schemas";
import { z } from "zod";

/** Settings of `spo pretrain text-to-image`. */
export const PretrainTextToImageConfig = z.strictObject({
  data: pathText().describe(
    "parquet file with the columns image, caption, concept, set, core; the rows with core are learned",
  ),
  vae: modelText().describe("folder of a trained VAE"),
  tokenizer: pathText().describe("folder of a CLIP tokenizer"),
  output: pathText().describe("folder for the model, diffusers layout"),
  family: z
    .enum(["sd15", "sd3"])
    .default("sd15")
    .describe(
      "what the model is: a small Stable Diffusion, or a small Stable Diffusion 3.5 with two CLIPs and no T5",
    ),
  init: modelText()
    .optional()
    .describe("model folder of the same sizes whose denoiser and text encoders are trained further"),
  channels: z
    .array(z.int().positive().max(MOST_CHANNELS))
    .min(1)
    .default([32, 64, 128])
    .describe("block_out_channels of the UNet (sd15)"),
  attention: z
    .array(z.boolean())
    .default([false, true, true])
    .describe("which levels look at the text (sd15)"),
  heads: z.int().positive().max(MOST_CHANNELS).default(4).describe("attention heads"),
  groups: z.int().positive().max(MOST_CHANNELS).default(16).describe("groups of the group norms (sd15)"),
  width: z.int().positive().max(MOST_CHANNELS).default(128).describe("of the transformer's tokens (sd3)"),
  blocks: z.int().positive().max(1000).default(6).describe("blocks of the transformer (sd3)"),
  patch: z
    .int()
    .positive()
    .max(64)
    .default(2)
    .describe("side of the squares of latent pixels that are a token (sd3)"),
  textWidth: z.int().positive().max(MOST_CHANNELS).default(128).describe("of each text encoder"),
  textLayers: z.int().positive().max(1000).default(2).describe("blocks of each text encoder"),
  batch: z.int().positive().max(MOST_SAMPLES).default(16).describe("images of one step"),
  steps: z.int().positive().max(MOST_STEPS).default(6000).describe("updates"),
  cosineSteps: z
    .int()
    .positive()
    .max(MOST_STEPS)
    .optional()
    .describe(
      "steps in which the learning rate falls to 0, when the training is to end before; default: steps",
    ),
  lr: z.number().positive().max(MOST_FACTOR).default(1e-3).describe("largest learning rate"),
  warmup: z.int().min(0).max(MOST_STEPS).default(60).describe("steps in which the learning rate rises"),
  weightDecay: z
    .number()
    .min(0)
    .max(MOST_FACTOR)
    .default(0.01)
    .describe("AdamW's, of the weights themselves"),
  ema: z.number().min(0).max(1).default(0.998).describe("decay of the weight average that is saved"),
  snrClip: z
    .number()
    .positive()
    .max(MOST_FACTOR)
    .default(5)
    .describe("largest signal-to-noise ratio that a loss weight may follow (min-SNR, sd15)"),
  dropCaption: z
    .number()
    .min(0)
    .max(1)
    .default(0.1)
    .describe("share of empty prompts, for classifier-free guidance"),
  saveEvery: z.int().positive().max(MOST_STEPS).default(250).describe("steps between checkpoints"),
  exportEvery: z
    .int()
    .positive()
    .max(MOST_STEPS)
    .default(1000)
    .describe("steps between model folders written to the output"),
  ...deviceSettings,
  seed: z.int().min(0).max(MOST_SEED).default(0).describe("of all that is drawn"),
});
export type PretrainTextToImageConfig = z.output<typeof PretrainTextToImageConfig>;
