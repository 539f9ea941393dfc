// Settings of the recipe that makes preference pairs. No tensor code: help and checks need no engine.

import { modelText, pathText } from "@spo/records/config";
import { MOST_FACTOR, MOST_GUIDANCE, MOST_SAMPLES, MOST_SEED } from "spo/schemas";
import { z } from "zod";

/** How many pairs of each kind. */
const Counts = z.strictObject({
  feedback: z.int().min(0).max(MOST_SAMPLES).describe("two samples of the base, ranked by the labeller"),
  real: z.int().min(0).max(MOST_SAMPLES).describe("real artwork over a sample of the base"),
  redrawn: z.int().min(0).max(MOST_SAMPLES).describe("real artwork over the base's redrawing of it"),
  damaged: z.int().min(0).max(MOST_SAMPLES).describe("real artwork over the same, damaged"),
  faded: z.int().min(0).max(MOST_SAMPLES).describe("real artwork over the same, paler or gaudier"),
  hue: z
    .int()
    .min(0)
    .max(MOST_SAMPLES)
    .default(0)
    .describe("real artwork over the same in a wrong hue, warmer and colder in equal shares"),
  saturation: z
    .int()
    .min(0)
    .max(MOST_SAMPLES)
    .default(0)
    .describe("real artwork over the same, pale and gaudy in equal shares"),
  sharpness: z
    .int()
    .min(0)
    .max(MOST_SAMPLES)
    .default(0)
    .describe("real artwork over the same, blurred and too sharp in equal shares"),
  mismatched: z
    .int()
    .min(0)
    .max(MOST_SAMPLES)
    .describe("real artwork over that of another concept, of similar colours"),
  renderings: z
    .int()
    .min(0)
    .max(MOST_SAMPLES)
    .default(0)
    .describe(
      "two renderings of one concept, neither better: images for a teacher, of all concepts, the held-out ones among them",
    ),
});

/** Settings of `spo data pairs`. */
export const MakePairsConfig = z.strictObject({
  data: pathText().describe("parquet file with the columns image, caption, concept, set, core"),
  model: modelText().describe("diffusers folder of the base"),
  labeller: modelText().describe("folder of the judge that gives the feedback"),
  trainPrompts: pathText().describe("prompts whose pairs are for training"),
  testPrompts: pathText().describe("held-out prompts, whose pairs are for measuring accuracy"),
  output: pathText().describe("parquet file to write, Pick-a-Pic's columns"),
  samplesPerPrompt: z
    .int()
    .positive()
    .max(MOST_SAMPLES)
    .default(20)
    .describe("samples of the base for each training prompt"),
  testSamplesPerPrompt: z
    .int()
    .positive()
    .max(MOST_SAMPLES)
    .default(12)
    .describe("samples for each held-out prompt"),
  guidanceScale: z
    .number()
    .min(-MOST_GUIDANCE)
    .max(MOST_GUIDANCE)
    .default(3)
    .describe("classifier-free guidance of the samples"),
  train: Counts.prefault({
    feedback: 800,
    real: 500,
    redrawn: 1000,
    damaged: 500,
    faded: 300,
    mismatched: 400,
  }),
  test: Counts.prefault({ feedback: 100, real: 100, redrawn: 80, damaged: 80, faded: 40, mismatched: 40 }),
  gap: z
    .number()
    .min(0)
    .max(MOST_FACTOR)
    .default(1)
    .describe("least difference of the labeller's scores, in standard deviations"),
  quality: z.int().min(1).max(100).default(92).describe("of the WebP images; both sides of a pair alike"),
  seed: z.int().min(0).max(MOST_SEED).default(33).describe("of all that is drawn"),
});
export type MakePairsConfig = z.output<typeof MakePairsConfig>;
