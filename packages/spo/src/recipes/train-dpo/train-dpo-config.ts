// Settings of the recipe that post-trains with Diffusion-DPO. No tensor code: help and checks need no engine.

import { configsText, modelText, pathText } from "@spo/records/config";
import { z } from "zod";
import {
  MOST_CHANNELS,
  MOST_FACTOR,
  MOST_GUIDANCE,
  MOST_MEGABYTES,
  MOST_PIXELS,
  MOST_PROMPTS,
  MOST_SAMPLES,
  MOST_SAMPLING_STEPS,
  MOST_SEED,
  MOST_STEPS,
} from "../bounds.js";
import { guardSettings } from "../training/guard-config.js";
import { adapterSettings, emaSettings } from "../training/policy-config.js";
import { precisionSettings } from "../training/precision-config.js";
import { processesSettings } from "../training/processes-config.js";
import { promptCacheSettings } from "../training/prompt-cache-config.js";
import { startSettings } from "../training/start-config.js";

/** Decay of one of AdamW's moments in each step. */
const decay = z.number().min(0).max(0.999_999_999);

/** Settings of `spo train dpo`. */
export const TrainDpoConfig = z.strictObject({
  model: modelText().describe(
    "folder in diffusers layout, one file (.safetensors, .ckpt), or org/name of a hub",
  ),
  configs: configsText()
    .nullable()
    .default(null)
    .describe("for one file of other than the published sizes: a folder with its configs and tokenizers"),
  pairs: z
    .array(pathText())
    .min(1)
    .describe("preference pairs: files or folders of one layout (parquet, JSON, JSONL, CSV, _w/_l images)"),
  ...promptCacheSettings,
  output: pathText().describe("folder for the result: a LoRA, or the whole model after full fine-tuning"),
  ...startSettings(", or a LoRA's file"),
  split: z.string().default("train").describe("pairs of this split; ties are left out"),
  allowOutside: z
    .boolean()
    .default(false)
    .describe("images of lists may lie outside of the list's folder; only for lists that you trust"),
  objective: z
    .enum(["dpo", "sft"])
    .default("dpo")
    .describe("sft: plain noise prediction on the winners, for comparison"),
  steps: z.int().positive().max(MOST_STEPS).default(2000).describe("updates"),
  batch: z.int().positive().max(MOST_SAMPLES).default(2048).describe("pairs of one update"),
  microBatch: z
    .int()
    .positive()
    .max(MOST_SAMPLES)
    .default(1)
    .describe("pairs of one backward pass; their gradients add up to the batch's"),
  resolution: z
    .int()
    .positive()
    .max(MOST_PIXELS)
    .nullable()
    .default(null)
    .describe("short side of the images, then a centre crop; null: the model's own"),
  mirror: z.boolean().default(true).describe("mirror each image with probability ½, the two of a pair apart"),
  emptyPrompts: z.number().min(0).max(1).default(0.2).describe("share of prompts that are left empty"),
  beta: z
    .number()
    .positive()
    .max(MOST_FACTOR)
    .default(5000)
    .describe("the larger, the nearer the policy stays to the base; published for latents of 4×64×64"),
  adapter: z.enum(["lora", "full"]).default("full").describe("what learns: a LoRA, or the whole UNet"),
  rank: z.int().positive().max(MOST_CHANNELS).default(8).describe("of the LoRA"),
  ...adapterSettings,
  optimizer: z
    .strictObject({
      kind: z
        .enum(["adamw", "adamw8bit", "adafactor"])
        .default("adamw")
        .describe("adamw8bit keeps AdamW's moments in 8 bits, in blocks of 256; adafactor keeps far less"),
      lr: z
        .number()
        .positive()
        .max(MOST_FACTOR)
        .default(2.048e-5)
        .describe("as published: 1e-8 for each pair of the batch; a LoRA wants more, about 1e-5 at batch 32"),
      betas: z.tuple([decay, decay]).default([0.9, 0.999]).describe("of adamw"),
      weightDecay: z.number().min(0).max(MOST_FACTOR).default(1e-2).describe("of the weights themselves"),
    })
    .prefault({}),
  warmup: z
    .int()
    .min(0)
    .max(MOST_STEPS)
    .default(500)
    .describe("steps until the full learning rate, which then stays"),
  maxGradNorm: z
    .number()
    .positive()
    .max(MOST_FACTOR)
    .default(1)
    .describe("longer gradients are made as long as this"),
  ...emaSettings,
  ...guardSettings,
  ...precisionSettings,
  ...processesSettings,
  evalPairs: z
    .int()
    .min(0)
    .max(MOST_SAMPLES)
    .default(0)
    .describe("pairs of evalSplit that loss and implicit accuracy are measured on, at fixed noise"),
  evalSplit: z.string().default("test").describe("split whose pairs are measured"),
  evalEvery: z.int().positive().max(MOST_STEPS).default(100).describe("steps between measurements"),
  heldOut: pathText()
    .nullable()
    .default(null)
    .describe(
      "text file of prompts that are sampled again and again from the same noise; null: nothing is sampled",
    ),
  samples: z.int().positive().max(MOST_PROMPTS).default(4).describe("prompts of heldOut that are sampled"),
  sampleEvery: z
    .int()
    .positive()
    .max(MOST_STEPS)
    .nullable()
    .default(null)
    .describe("steps between those samples; null: as evalEvery"),
  sampleSteps: z
    .int()
    .positive()
    .max(MOST_SAMPLING_STEPS)
    .default(20)
    .describe("sampling steps of those samples"),
  guidanceScale: z
    .number()
    .min(-MOST_GUIDANCE)
    .max(MOST_GUIDANCE)
    .default(5)
    .describe(
      "classifier-free guidance of those samples; the loss has none, but a model that is told the scale is told this one",
    ),
  saveEvery: z.int().positive().max(MOST_STEPS).default(100).describe("steps between checkpoints"),
  readAhead: z
    .int()
    .positive()
    .max(MOST_MEGABYTES)
    .default(32)
    .describe("MB of decoded images that wait for their turn; beside them, 48 MB of stored ones are mixed"),
  seed: z.int().min(0).max(MOST_SEED).default(0).describe("of all that is drawn"),
});
export type TrainDpoConfig = z.output<typeof TrainDpoConfig>;
