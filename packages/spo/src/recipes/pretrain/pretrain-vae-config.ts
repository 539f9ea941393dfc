// Settings of the recipe that trains the small VAE. No tensor code: help and checks need no engine.
import { z } from "zod";
import { deviceSettings } from "../training/precision-config.js";

/** Settings of `spo pretrain vae`. */
export const PretrainVaeConfig = z.strictObject({
  data: z.string().describe("parquet file with the columns image, caption, concept, set, core"),
  output: z.string().describe("folder for the trained VAE"),
  channels: z
    .array(z.int().positive())
    .min(1)
    .default([16, 32, 32])
    .describe("block_out_channels; each but the last halves the size"),
  groups: z.int().positive().default(8).describe("groups of the group norms"),
  crop: z.int().positive().default(32).describe("side of the random crops, pixels"),
  batch: z.int().positive().default(48).describe("crops of one step"),
  steps: z.int().positive().default(1000).describe("updates"),
  lr: z.number().positive().default(2e-3).describe("largest learning rate"),
  warmup: z.int().min(0).default(20).describe("steps in which the learning rate rises"),
  ema: z.number().min(0).max(1).default(0.995).describe("decay of the weight average that is saved"),
  klWeight: z
    .number()
    .min(0)
    .default(1e-4)
    .describe("weight of the latents' distance from a normal distribution"),
  edgeWeight: z.number().min(0).default(0.5).describe("weight of the L1 distance of image gradients"),
  saveEvery: z.int().positive().default(200).describe("steps between checkpoints"),
  ...deviceSettings,
  seed: z.int().min(0).default(0).describe("of all that is drawn"),
});
export type PretrainVaeConfig = z.output<typeof PretrainVaeConfig>;
