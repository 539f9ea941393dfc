// Models that the flow families share, as parts of a family, and the published configs of them.
import { eye, UserError, type WeightsFile } from "@spo/torch";
import { ldmText } from "../layouts/ldm-models.js";
import {
  loadT5Encoder,
  loadTextEncoderWithProjection,
  loadTransformer,
  renewT5Names,
  type StoredModel,
} from "../layouts/model-folder.js";
import { type OriginalModule, originalModel } from "../layouts/original-modules.js";
import type { AutoencoderKL, AutoencoderKLConfig } from "../models/autoencoder-kl.js";
import { type CLIPTextConfig, CLIPTextModelWithProjection } from "../models/clip-text.js";
import type { DenoiserModel } from "../models/denoiser-model.js";
import { type T5Config, T5EncoderModel } from "../models/t5-encoder.js";
import type { PromptSyntax } from "../prompts/prompt-weights.js";
import type { FamilyPart, LoraPart } from "./family.js";
import { publishedVae } from "./published-parts.js";
import { textSpellings } from "./shared-parts.js";

/** Layers of a joint attention that a LoRA adapts: all projections of both streams. */
export const JOINT_ATTENTION_TARGETS: readonly string[] = [
  ...["to_q", "to_k", "to_v", "to_out.0"],
  ...["add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"],
];

/** Classes that model_index.json may name for T5's tokenizer. */
export const T5_TOKENIZERS: readonly string[] = ["T5Tokenizer", "T5TokenizerFast"];

/**
 * A transformer, in one file under the names of its original code, with the usual prefix or with none. modules: by a config; tensors:
 * names that are no module's, [ours, original].
 */
export function transformerPart<C, M extends StoredModel>(
  Model: new (config: C) => M,
  {
    modules,
    tensors,
    bare,
  }: {
    modules: (config: C) => OriginalModule[];
    tensors?: readonly (readonly [string, string])[];
    bare: { pattern: RegExp; written: boolean };
  },
): FamilyPart {
  const originals = (model: StoredModel): OriginalModule[] => modules(model.config as C);
  const originalName: LoraPart["originalName"] = (model) => {
    const names = new Map(
      originals(model).flatMap(({ original, ours, halvesSwapped }) =>
        ours.length === 1 && !halvesSwapped ? [[ours[0], original] as const] : [],
      ),
    );
    return (module) => names.get(module) ?? module;
  };
  return {
    classes: [Model.name],
    blank: (config) => new Model(config as C),
    load: (folder, options) => loadTransformer(folder, Model, options),
    original: {
      prefix: "model.diffusion_model.",
      bare,
      names: (config) => originalModel(modules(config as C), tensors),
    },
    lora: {
      prefixes: ["model.diffusion_model.", "diffusion_model.", "transformer."],
      kohyaPrefixes: ["lora_unet_", "lora_transformer_", "lycoris_"],
      spellings: (model) => {
        const name = originalName(model);
        return (module) => [...new Set([module, name(module)])];
      },
      kohyaName: originalName,
      originalName,
      originals,
    },
  };
}

/** CLIP with its projection, in transformers' names. identity: the projection is the identity, whatever a file has for it. */
export const projectedClipPart = (
  which: "clip_l" | "clip_g",
  part: string,
  { kohyaPrefix, identity }: { kohyaPrefix: string; identity: boolean },
): FamilyPart => ({
  classes: ["CLIPTextModelWithProjection"],
  blank: (config) => new CLIPTextModelWithProjection(config as CLIPTextConfig),
  load: loadTextEncoderWithProjection,
  original: {
    prefix: `text_encoders.${which}.transformer.`,
    names: (config) => (identity ? withIdentity((config as CLIPTextConfig).hidden_size ?? 768) : ldmText()),
  },
  lora: {
    prefixes: [
      ...[
        `text_encoders.${which}.transformer.`,
        `text_encoders.${which}.`,
        `${which}.transformer.`,
        `${which}.`,
      ],
      `${part}.`,
    ],
    kohyaPrefixes: [kohyaPrefix],
    spellings: textSpellings,
  },
});

/** Source: diffusers `create_diffusers_clip_model_from_ldm` for SD3. */
function withIdentity(width: number): ReturnType<typeof ldmText> {
  const { fromOriginal, toOriginal } = ldmText();
  const name = "text_projection.weight";
  return {
    fromOriginal: (weights) => fromOriginal(weights).set(name, eye(width)),
    toOriginal: (weights) => new Map([...toOriginal(weights)].filter(([each]) => each !== name)),
  };
}

/** T5's encoder. */
export const t5Part = ({ optional }: { optional: boolean }): FamilyPart => ({
  classes: ["T5EncoderModel"],
  optional,
  large: true,
  blank: (config) => new T5EncoderModel(config as T5Config),
  load: loadT5Encoder,
  original: {
    prefix: "text_encoders.t5xxl.transformer.",
    names: () => ({ fromOriginal: renewT5Names, toOriginal: (weights) => new Map(weights) }),
  },
});

/** T5 v1.1 XXL. */
export const T5_XXL: T5Config = {
  vocab_size: 32128,
  d_model: 4096,
  d_kv: 64,
  d_ff: 10240,
  num_layers: 24,
  num_heads: 64,
  feed_forward_proj: "gated-gelu",
};

/** A VAE of 16 channels without quant convolutions. */
export const publishedFlowVae = (scaling_factor: number, shift_factor: number): AutoencoderKLConfig => ({
  ...publishedVae(scaling_factor, 1024),
  latent_channels: 16,
  shift_factor,
  use_quant_conv: false,
  use_post_quant_conv: false,
});

/** Shape of the first weight in a file whose name matches, with any prefix; undefined where there is none. */
export function shapeIn(file: WeightsFile, end: string): readonly number[] | undefined {
  const name = file.keys().find((key) => key === end || key.endsWith(`.${end}`));
  return name === undefined ? undefined : file.info(name).shape;
}

/** How many numbers follow a word in the names of a file: its blocks of a kind, or of those whose name goes on as given. */
export function countIn(file: WeightsFile, pattern: RegExp): number[] {
  const found = new Set<number>();
  for (const key of file.keys()) {
    const number = pattern.exec(key)?.[1];
    if (number !== undefined) found.add(Number(number));
  }
  return [...found].sort((a, b) => a - b);
}

/** Throws a UserError (`CONFIG`) unless a transformer takes and gives latents of the VAE, and texts of these widths. */
export function requireFlowFits(
  denoiser: DenoiserModel,
  vae: AutoencoderKL,
  widths: { context?: number; pooled: number },
): void {
  const refuse = (why: string): never => {
    throw new UserError(`The transformer ${why}.`, {
      code: "CONFIG",
      hint: "Give the parts of one model, which draws from a text alone.",
    });
  };
  const { latent_channels: channels } = vae.config;
  if (denoiser.latentChannels !== channels)
    refuse(`takes ${denoiser.latentChannels} channels and latents have ${channels}`);
  const shapes = denoiser.conditionShapes(1);
  const context = shapes.context?.[1];
  if (widths.context !== undefined && context !== widths.context)
    refuse(`reads texts of width ${context} (joint_attention_dim), and T5's have ${widths.context}`);
  const [pooled] = shapes.pooled ?? [];
  if (pooled !== widths.pooled)
    refuse(
      `reads pooled texts of width ${pooled} (pooled_projection_dim), and the text encoders' have ${widths.pooled}`,
    );
}

/** Throws a UserError (`USAGE`) for a way to read prompts that needs CLIP alone. */
export function requirePlain(syntax: PromptSyntax | undefined, title: string): void {
  if (syntax === undefined || syntax === "plain" || syntax === "auto") return;
  throw new UserError(
    `${title} reads prompts plain: --prompt-syntax ${syntax} is for models whose text is CLIP's alone.`,
    {
      code: "USAGE",
      hint: "Leave --prompt-syntax out, and describe what matters in words.",
    },
  );
}
