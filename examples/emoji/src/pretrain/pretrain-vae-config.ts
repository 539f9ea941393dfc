// Settings of the recipe that trains the small VAE. No tensor code: help and checks need no engine.

import { pathText } from "@spo/records/config";
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

/** Settings of `spo pretrain vae`. */
export const PretrainVaeConfig = z.strictObject({
  data: pathText().describe("parquet file with the columns image, caption, concept, set, core"),
  output: pathText().describe("folder for the trained VAE"),
  channels: z
    .array(z.int().positive().max(MOST_CHANNELS))
    .min(1)
    .default([16, 32, 32])
    .describe("block_out_channels; each but the last halves the size"),
  groups: z.int().positive().max(MOST_CHANNELS).default(8).describe("groups of the group norms"),
  crop: z.int().positive().max(MOST_PIXELS).default(32).describe("side of the random crops, pixels"),
  batch: z.int().positive().max(MOST_SAMPLES).default(48).describe("crops of one step"),
  steps: z.int().positive().max(MOST_STEPS).default(1000).describe("updates"),
  lr: z.number().positive().max(MOST_FACTOR).default(2e-3).describe("largest learning rate"),
  warmup: z.int().min(0).max(MOST_STEPS).default(20).describe("steps in which the learning rate rises"),
  ema: z.number().min(0).max(1).default(0.995).describe("decay of the weight average that is saved"),
  klWeight: z
    .number()
    .min(0)
    .max(MOST_FACTOR)
    .default(1e-4)
    .describe("weight of the latents' distance from a normal distribution"),
  edgeWeight: z
    .number()
    .min(0)
    .max(MOST_FACTOR)
    .default(0.5)
    .describe("weight of the L1 distance of image gradients"),
  saveEvery: z.int().positive().max(MOST_STEPS).default(200).describe("steps between checkpoints"),
  ...deviceSettings,
  seed: z.int().min(0).max(MOST_SEED).default(0).describe("of all that is drawn"),
});
export type PretrainVaeConfig = z.output<typeof PretrainVaeConfig>;
