// Settings of the recipe that trains the small CLIP. No tensor code: help and checks need no engine.

import { modelText, pathText } from "@spo/records/config";
import {
  deviceSettings,
  MOST_CHANNELS,
  MOST_FACTOR,
  MOST_PIXELS,
  MOST_SAMPLES,
  MOST_SEED,
  MOST_STEPS,
} from "spo/schemas";
import { z } from "zod";

/** Settings of `spo pretrain clip`. */
export const PretrainClipConfig = z.strictObject({
  data: pathText().describe("parquet file with the columns image, caption, concept, set, core"),
  leaveOut: z
    .array(pathText())
    .default([])
    .describe("text files with captions, one a line, whose artwork it must not see"),
  half: z
    .union([z.literal(0), z.literal(1)])
    .default(0)
    .describe("which half of the renderings it may see"),
  vae: modelText().describe("folder of the base's VAE: most images are seen as it reproduces them"),
  tokenizer: pathText().describe("folder of a CLIP tokenizer"),
  output: pathText().describe(
    "folder for the model, as a preference model that is not yet trained on timesteps",
  ),
  width: z.int().positive().max(MOST_CHANNELS).default(128).describe("of both towers"),
  visionLayers: z.int().positive().max(1000).default(4).describe("blocks of the image tower"),
  textLayers: z.int().positive().max(1000).default(2).describe("blocks of the text tower"),
  heads: z.int().positive().max(MOST_CHANNELS).default(4).describe("attention heads"),
  patch: z.int().positive().max(MOST_PIXELS).default(8).describe("side of an image patch, pixels"),
  batch: z.int().positive().max(MOST_SAMPLES).default(64).describe("images of one step"),
  steps: z.int().positive().max(MOST_STEPS).default(600).describe("updates"),
  lr: z.number().positive().max(MOST_FACTOR).default(1e-3).describe("learning rate"),
  maxScale: z.number().positive().max(MOST_FACTOR).default(30).describe("bound of exp(logit_scale)"),
  saveEvery: z.int().positive().max(MOST_STEPS).default(100).describe("steps between checkpoints"),
  ...deviceSettings,
  seed: z.int().min(0).max(MOST_SEED).default(3).describe("of all that is drawn"),
});
export type PretrainClipConfig = z.output<typeof PretrainClipConfig>;
