// Settings of the recipe that trains a judge of artwork. No tensor code: help and checks need no engine.

import { modelText, pathText } from "@spo/records/config";
import {
  deviceSettings,
  MOST_CHANNELS,
  MOST_FACTOR,
  MOST_GUIDANCE,
  MOST_SAMPLES,
  MOST_SEED,
  MOST_STEPS,
} from "spo/schemas";
import { z } from "zod";

/** Settings of `spo pretrain judge`. */
export const PretrainJudgeConfig = z.strictObject({
  data: pathText().describe("parquet file with the columns image, caption, concept, set, core"),
  leaveOut: z
    .array(pathText())
    .default([])
    .describe("text files with captions, one a line, whose artwork it must not see"),
  half: z.union([z.literal(0), z.literal(1)]).describe("which half of the renderings it may see"),
  model: modelText().describe("diffusers folder of the base whose samples are not real"),
  prompts: z.array(pathText()).min(1).describe("text files with prompts of the samples, one a line"),
  samplesPerPrompt: z
    .int()
    .positive()
    .max(MOST_SAMPLES)
    .default(4)
    .describe("samples of the base for each prompt"),
  guidanceScale: z
    .number()
    .min(-MOST_GUIDANCE)
    .max(MOST_GUIDANCE)
    .default(3)
    .describe("classifier-free guidance of the samples"),
  output: pathText().describe("folder for the trained judge"),
  widths: z
    .array(z.int().positive().max(MOST_CHANNELS))
    .default([32, 64, 96, 128])
    .describe("channels of its stages"),
  patchWidths: z
    .array(z.int().positive().max(MOST_CHANNELS))
    .default([24, 48])
    .describe("the same of the network that tells real from drawn, by patches"),
  steps: z.int().positive().max(MOST_STEPS).default(500).describe("updates"),
  batch: z.int().positive().max(MOST_SAMPLES).default(64).describe("images of one step"),
  lr: z.number().positive().max(MOST_FACTOR).default(2e-3).describe("learning rate"),
  colour: z.number().min(0).max(MOST_FACTOR).default(0.15).describe("strength of the colour augmentation"),
  saveEvery: z.int().positive().max(MOST_STEPS).default(100).describe("steps between checkpoints"),
  ...deviceSettings,
  seed: z.int().min(0).max(MOST_SEED).default(101).describe("of all that is drawn"),
});
export type PretrainJudgeConfig = z.output<typeof PretrainJudgeConfig>;
