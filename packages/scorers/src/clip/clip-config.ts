// Sizes of a CLIP model and how pixels become its input, from the files of its folder.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type ClipActivation, checkConfig, count, headsDivide, MOST, readJsonObject } from "@spo/diffusion";
import { UserError } from "@spo/torch";
import { z } from "zod";
import { clipProcessor, type ScoreProcessor } from "./preprocess.js";

const size = (value: number, most: number = MOST.width) => count(most).default(value);
const activation = z.enum(["gelu", "quick_gelu"] satisfies ClipActivation[]).default("quick_gelu");

/** Patches that a picture is cut into, at most: each attends to all others. */
const MOST_PATCHES = 2 ** 14;

function patchesFit({
  value,
  issues,
}: z.core.ParsePayload<{ image_size: number; patch_size: number }>): void {
  const { image_size: side, patch_size: patch } = value;
  const patches = Math.floor(side / patch) ** 2;
  if (patches >= 1 && patches <= MOST_PATCHES) return;
  const message = `patches of ${patch} pixels cut ${side} pixels into ${patches}; that must be from 1 to ${MOST_PATCHES}`;
  issues.push({ code: "custom", path: ["patch_size"], message, input: value });
}

/** config.json of transformers' CLIPModel, with its defaults: the files leave out values that equal them. */
export const ClipConfigSchema = z.object({
  projection_dim: size(512),
  logit_scale_init_value: z.number().min(-100).max(100).default(2.6592),
  text_config: z
    .object({
      hidden_size: size(512),
      intermediate_size: size(2048),
      num_attention_heads: size(8, MOST.heads),
      num_hidden_layers: size(12, MOST.layers),
      vocab_size: size(49408, 2 ** 24),
      max_position_embeddings: size(77),
      hidden_act: activation,
      layer_norm_eps: z.number().positive().max(1).default(1e-5),
      eos_token_id: z.int().min(0).default(2),
    })
    .check(headsDivide)
    .prefault({}),
  vision_config: z
    .object({
      hidden_size: size(768),
      intermediate_size: size(3072),
      num_attention_heads: size(12, MOST.heads),
      num_hidden_layers: size(12, MOST.layers),
      image_size: size(224, 4096),
      patch_size: size(32, 4096),
      num_channels: size(3, 64),
      hidden_act: activation,
      layer_norm_eps: z.number().positive().max(1).default(1e-5),
    })
    .check(headsDivide)
    .check(patchesFit)
    .prefault({}),
});

/** Sizes of a CLIP model, by the names of its `config.json`. */
export type ClipConfig = z.infer<typeof ClipConfigSchema>;
/** The same with everything optional that has a default. */
export type ClipConfigInput = z.input<typeof ClipConfigSchema>;

const ProcessorSchema = z.object({
  crop_size: z
    .union([count(MOST.side), z.object({ height: count(MOST.side), width: count(MOST.side) })])
    .optional(),
  image_mean: z.array(z.number().min(-1e3).max(1e3)).length(3).optional(),
  image_std: z.array(z.number().min(1e-6).max(1e3)).length(3).optional(),
});

/**
 * `preprocessor_config.json` of a folder; CLIP's own values where it has none.
 *
 * Throws a UserError where it crops to another size than the model's.
 */
export function readProcessor(folder: string, config: Pick<ClipConfig, "vision_config">): ScoreProcessor {
  const standard = clipProcessor(config.vision_config.image_size);
  const path = join(folder, "preprocessor_config.json");
  if (!existsSync(path)) return standard;
  const found = checkConfig(ProcessorSchema, readJsonObject(path), path);
  const { crop_size = standard.size, image_mean = standard.mean, image_std = standard.std } = found;
  const { height, width } =
    typeof crop_size === "number" ? { height: crop_size, width: crop_size } : crop_size;
  if (height !== standard.size || width !== standard.size) {
    throw new UserError(
      `${path}: crop_size is ${height}×${width}, but vision_config.image_size is ${standard.size}.`,
      { code: "DATA", hint: "The two files belong to different models." },
    );
  }
  return { size: standard.size, mean: image_mean, std: image_std };
}
