// Settings of the recipe that trains a step-aware preference model. No tensor code: help and checks need no engine.

import { configsText, modelText, pathText, scorerText } from "@spo/records/config";
import { z } from "zod";
import {
  MOST_CANDIDATES,
  MOST_FACTOR,
  MOST_GUIDANCE,
  MOST_MEGABYTES,
  MOST_PIXELS,
  MOST_SAMPLES,
  MOST_SAMPLING_STEPS,
  MOST_SEED,
  MOST_STEPS,
} from "../bounds.js";
import {
  checkpointingSettings,
  deviceSettings,
  frozenDtype,
  vaeSettings,
} from "../training/precision-config.js";
import { processesSettings } from "../training/processes-config.js";
import { promptCacheSettings } from "../training/prompt-cache-config.js";
import { startSettings } from "../training/start-config.js";

/** Decay of one of AdamW's moments in each step. */
const decay = z.number().min(0).max(0.999_999_999);

/** Settings of `spo train spm`. */
export const TrainSpmConfig = z.strictObject({
  model: modelText().describe(
    "the base, which stays as it is: folder in diffusers layout, one file (.safetensors, .ckpt), or org/name of a hub",
  ),
  configs: configsText()
    .nullable()
    .default(null)
    .describe("for one file of other than the published sizes: a folder with its configs and tokenizers"),
  kind: z
    .enum(["pixel", "latent"])
    .nullable()
    .default(null)
    .describe(
      "what it looks at: decoded predictions, or noisy latents by a UNet of its own; null: as the preference model in init, pixel for a scorer",
    ),
  init: modelText()
    .nullable()
    .default(null)
    .describe(
      "scorer to start from, folder or file: CLIP or PickScore (transformers' or open_clip's layout), or a preference model to go on with; for the kind latent null, the base's UNet and text encoders, or a CLIP beside them for its text projection",
    ),
  pairs: z
    .array(pathText())
    .default([])
    .describe(
      "preference pairs: files or folders of one layout (parquet, JSON, JSONL, CSV, _w/_l images); with a teacher, which needs none, images beside the base's samples, whose labels are not read",
    ),
  teacher: modelText()
    .nullable()
    .default(null)
    .describe(
      "preference model, of images above all, or a plain scorer that one can be made of, which a latent model learns from on the base's own samples, without labels",
    ),
  distill: z
    .enum(["vectors", "preferences"])
    .nullable()
    .default(null)
    .describe(
      "with a teacher, what is learned of it: its vectors of samples and texts, or which of two samples it prefers; null: vectors where both compare vectors of one width, as a new model of Stable Diffusion 1.5 does",
    ),
  prompts: pathText()
    .nullable()
    .default(null)
    .describe("with a teacher: what the base draws, a text file, one prompt a line, or a JSON list"),
  ...promptCacheSettings,
  heldOut: pathText()
    .nullable()
    .default(null)
    .describe(
      "with a teacher: prompts that the agreement is measured on; null: those of prompts, with other noise",
    ),
  candidates: z
    .int()
    .min(2)
    .max(MOST_CANDIDATES)
    .default(4)
    .describe("with a teacher: x_{t-1} drawn from one x_t, best and worst of which are a pair"),
  imageShare: z
    .number()
    .min(0)
    .max(1)
    .default(0.33)
    .describe(
      "with a teacher and pairs: share of each batch that are images of the pairs, noised, with the teacher's vectors of them (imageTarget); the others are the base's samples, of which SPO will ask",
    ),
  imageTarget: z
    .enum(["clean", "predicted"])
    .default("clean")
    .describe(
      "with a teacher and pairs: what the teacher sees of an image: clean, the image as it is; predicted, as the base predicts it from the noised latents, a pass of the base and a decode each",
    ),
  output: pathText().describe("folder for the trained preference model"),
  ...startSettings(""),
  relabel: z
    .strictObject({
      by: scorerText()
        .optional()
        .describe(
          "reward that scores the clean images, as pickscore:FOLDER; absent: the plain scorer of init",
        ),
      threshold: z
        .number()
        .min(0)
        .max(1)
        .default(0.1)
        .describe("least gap of the two probabilities for a win; below, the pair is a tie"),
    })
    .optional()
    .describe("labels made anew from plain scores of the clean images, as published for SDXL"),
  split: z.string().default("train").describe("pairs of this split"),
  allowOutside: z
    .boolean()
    .default(false)
    .describe("images of lists may lie outside of the list's folder; only for lists that you trust"),
  steps: z.int().positive().max(MOST_STEPS).default(8000).describe("updates"),
  batch: z
    .int()
    .positive()
    .max(MOST_SAMPLES)
    .default(16)
    .describe("pairs of one step; each prompt among them counts alike"),
  microBatch: z
    .int()
    .positive()
    .max(MOST_SAMPLES)
    .nullable()
    .default(null)
    .describe(
      "pairs of one backward pass, whose gradients add up to the batch's; null: the whole batch at once",
    ),
  resolution: z
    .int()
    .positive()
    .max(MOST_PIXELS)
    .nullable()
    .default(null)
    .describe("short side of the images, then a centre crop; null: the base's own"),
  dtype: z
    .enum(["float32", "bfloat16"])
    .default("float32")
    .describe(
      "of the weights that learn: bfloat16 halves them and their gradients, and rounds each update up or down at random; for optimizer.kind adamw8bit",
    ),
  baseDtype: frozenDtype.describe("of the base's UNet, which predicts and does not learn"),
  optimizer: z
    .strictObject({
      kind: z
        .enum(["adamw", "adamw8bit"])
        .default("adamw")
        .describe("adamw8bit keeps AdamW's moments in 8 bits, in blocks of 256: a quarter of their memory"),
      lr: z
        .number()
        .positive()
        .max(MOST_FACTOR)
        .default(3e-6)
        .describe("learning rate after the warm-up; from there it falls to 0 at the last step"),
      betas: z.tuple([decay, decay]).default([0.9, 0.999]).describe("decay of AdamW's two moments"),
      weightDecay: z
        .number()
        .min(0)
        .max(MOST_FACTOR)
        .default(0.3)
        .describe("AdamW's, of the weights themselves"),
    })
    .prefault({}),
  warmup: z
    .int()
    .min(0)
    .max(MOST_STEPS)
    .default(500)
    .describe("steps in which the learning rate rises to its value"),
  maxGradNorm: z
    .number()
    .positive()
    .max(MOST_FACTOR)
    .default(1)
    .describe("longer gradients are made as long as this"),
  guidanceScale: z
    .number()
    .min(-MOST_GUIDANCE)
    .max(MOST_GUIDANCE)
    .default(5)
    .describe(
      "classifier-free guidance of the base's predictions that are judged; of no use to the kind latent",
    ),
  featureGuidance: z
    .number()
    .positive()
    .max(MOST_GUIDANCE)
    .default(7.5)
    .describe("guidance of the features of a new latent model, text against none; 1: none, at half the cost"),
  multiScale: z
    .boolean()
    .default(true)
    .describe("whether a new latent model looks at all levels of its UNet, or at the middle alone"),
  noiseLevels: z
    .int()
    .positive()
    .max(MOST_SAMPLING_STEPS)
    .nullable()
    .default(null)
    .describe(
      "timesteps are drawn from those of a sampling of so many steps; null: as published, every one for the kind pixel, 20 for latent",
    ),
  bank: z
    .int()
    .min(0)
    .max(MOST_SAMPLES)
    .default(0)
    .describe(
      "noised and denoised pairs that are drawn once, kept in memory and used again: for small sets, and with a teacher also so many pairs of images; 0: new ones each step, as published",
    ),
  maxTimestep: z
    .int()
    .min(0)
    .max(999)
    .default(999)
    .describe("largest timestep drawn; the resampler judges none above that of its step firstBranch + 1"),
  cleanShare: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe("share of the drawn pairs that are shown as they are, at timestep 0"),
  pixelNoise: z
    .number()
    .min(0)
    .max(MOST_FACTOR)
    .default(0)
    .describe("largest spread of noise on the pixels, against reading fine traces"),
  augmentation: z
    .strictObject({
      colour: z
        .number()
        .min(0)
        .max(1)
        .default(0)
        .describe("largest change of saturation, tint and brightness, as a share"),
      scale: z.number().min(0).max(0.5).default(0).describe("largest change of size, as a share"),
      shift: z.number().min(0).max(0.5).default(0).describe("largest shift, as a share of the side"),
    })
    .nullable()
    .default(null)
    .describe(
      "mirroring, size and shift, alike for both images of a pair, and colours for each; with a teacher, of the images of the pairs; absent: none, as published",
    ),
  evalPairs: z
    .int()
    .min(0)
    .max(MOST_SAMPLES)
    .default(500)
    .describe("pairs of evalSplit that the accuracy is measured on, spread over it; 0: none"),
  evalSplit: z.string().default("test").describe("split whose pairs the accuracy is measured on"),
  evalEvery: z
    .int()
    .positive()
    .max(MOST_STEPS)
    .default(500)
    .describe("steps between measurements of the accuracy"),
  evalTimesteps: z
    .array(z.int().min(0).max(999))
    .default([0, 251, 501, 701, 951])
    .describe("0: the clean image, without VAE"),
  ...deviceSettings,
  ...checkpointingSettings,
  ...vaeSettings,
  ...processesSettings,
  saveEvery: z.int().positive().max(MOST_STEPS).default(500).describe("steps between checkpoints"),
  readAhead: z
    .int()
    .positive()
    .max(MOST_MEGABYTES)
    .default(32)
    .describe("MB of decoded images that wait for their turn; beside them, 48 MB of stored ones are mixed"),
  seed: z.int().min(0).max(MOST_SEED).default(0).describe("of all that is drawn"),
});
export type TrainSpmConfig = z.output<typeof TrainSpmConfig>;
