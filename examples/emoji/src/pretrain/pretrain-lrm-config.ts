// Settings of the recipe that trains a latent reward model on captions. No tensor code: help and checks need no engine.

import { modelText, pathText } from "@spo/records/config";
import { deviceSettings, MOST_FACTOR, MOST_SAMPLES, MOST_SEED, MOST_STEPS } from "spo/schemas";
import { z } from "zod";

/** Settings of `spo pretrain lrm`. */
export const PretrainLrmConfig = z.strictObject({
  data: pathText().describe("parquet file with the columns image, caption, concept, set, core"),
  leaveOut: z
    .array(pathText())
    .default([])
    .describe("text files with captions, one a line, whose artwork it must not see"),
  half: z
    .union([z.literal(0), z.literal(1)])
    .default(0)
    .describe("which half of the renderings it may see"),
  model: modelText().describe("folder of the base, whose UNet, text encoder and latents it begins with"),
  output: pathText().describe("folder for the latent reward model"),
  views: z
    .int()
    .positive()
    .max(100)
    .default(6)
    .describe("latents of each rendering: of itself, and of augmented copies"),
  others: z
    .int()
    .positive()
    .max(MOST_SAMPLES)
    .default(3)
    .describe("wrong captions that an image's own is told from"),
  batch: z.int().min(2).max(MOST_SAMPLES).default(24).describe("images of one step"),
  steps: z.int().positive().max(MOST_STEPS).default(1200).describe("updates"),
  lr: z.number().positive().max(MOST_FACTOR).default(4e-4).describe("learning rate"),
  noiseLevels: z
    .int()
    .positive()
    .max(1000)
    .default(20)
    .describe("timesteps are those of a sampling of so many steps, and 0"),
  maxScale: z.number().positive().max(MOST_FACTOR).default(30).describe("bound of exp(logit_scale)"),
  saveEvery: z.int().positive().max(MOST_STEPS).default(200).describe("steps between checkpoints"),
  ...deviceSettings,
  seed: z.int().min(0).max(MOST_SEED).default(7).describe("of all that is drawn"),
});
export type PretrainLrmConfig = z.output<typeof PretrainLrmConfig>;
