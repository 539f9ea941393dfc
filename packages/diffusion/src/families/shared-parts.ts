// Models that several families share, as parts of a family.
import type { WeightsFile } from "@spo/torch";
import { ldmText, ldmUnet, ldmVae, openClipText } from "../layouts/ldm-models.js";
import { ldmUnetNames, renamed } from "../layouts/ldm-unet-names.js";
import {
  loadTextEncoder,
  loadTextEncoderWithProjection,
  loadUnet,
  loadVae,
  type StoredModel,
} from "../layouts/model-folder.js";
import { AutoencoderKL, type AutoencoderKLConfig } from "../models/autoencoder-kl.js";
import { type CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection } from "../models/clip-text.js";
import { type UNet2DConditionConfig, UNet2DConditionModel } from "../models/unet-2d-condition.js";
import type { FamilyPart, LoraPart } from "./family.js";

/** Classes that model_index.json may name for CLIP's tokenizer. */
export const CLIP_TOKENIZERS: readonly string[] = ["CLIPTokenizer", "CLIPTokenizerFast"];

/** The UNet of latents, in one file under the original's names. */
export const unetPart = (
  more: Pick<FamilyPart, "repaired"> & { kohyaName?: LoraPart["kohyaName"] } = {},
): FamilyPart => ({
  classes: ["UNet2DConditionModel"],
  blank: (config) => new UNet2DConditionModel(config as UNet2DConditionConfig),
  load: loadUnet,
  repaired: more.repaired,
  original: {
    prefix: "model.diffusion_model.",
    names: (config) => ldmUnet(config as UNet2DConditionConfig),
  },
  lora: {
    prefixes: ["model.diffusion_model.", "diffusion_model.", "unet."],
    kohyaPrefixes: ["lora_unet_"],
    // `to_out` alone is the name that diffusers' attention processors had.
    spellings: (model) => {
      const original = originalName(model);
      return (module) =>
        [...new Set([module, original(module)])].flatMap((name) =>
          name.endsWith(".to_out.0") ? [name, name.slice(0, -2)] : [name],
        );
    },
    kohyaName: more.kohyaName,
    originalName,
  },
});

/** A UNet's modules in the original's names. */
export function originalName(model: StoredModel): (module: string) => string {
  const names = new Map(ldmUnetNames(model.config as UNet2DConditionConfig));
  return (module) => renamed(module, names) ?? module;
}

/** The VAE. */
export const vaePart = ({
  repaired,
  prefix = "first_stage_model.",
  alsoRead,
}: Pick<FamilyPart, "repaired"> & { prefix?: string; alsoRead?: readonly string[] } = {}): FamilyPart => ({
  classes: ["AutoencoderKL"],
  blank: (config) => new AutoencoderKL(config as AutoencoderKLConfig),
  load: loadVae,
  repaired,
  original: { prefix, alsoRead, names: (config) => ldmVae(config as AutoencoderKLConfig) },
});

/** OpenAI's CLIP text encoder. prefix: in one file. kohyaPrefixes: kohya's own first. */
export const clipPart = (prefix: string, kohyaPrefixes: LoraPart["kohyaPrefixes"]): FamilyPart => ({
  classes: ["CLIPTextModel"],
  blank: (config) => new CLIPTextModel(config as CLIPTextConfig),
  load: loadTextEncoder,
  original: { prefix, names: () => ldmText() },
  lora: {
    prefixes: [
      ...["text_encoders.clip_l.transformer.", "text_encoders.clip_l.", "clip_l.transformer.", "clip_l."],
      ...["conditioner.embedders.0.transformer.", "cond_stage_model.transformer.", "text_encoder."],
    ],
    kohyaPrefixes,
    spellings: textSpellings,
  },
});

/** OpenCLIP's text encoder with its projection. */
export const openClipPart = (prefix: string, kohyaPrefixes: LoraPart["kohyaPrefixes"]): FamilyPart => ({
  classes: ["CLIPTextModelWithProjection"],
  blank: (config) => new CLIPTextModelWithProjection(config as CLIPTextConfig),
  load: loadTextEncoderWithProjection,
  original: { prefix, names: (config) => openClipText(config as CLIPTextConfig) },
  lora: {
    prefixes: [
      ...["text_encoders.clip_g.transformer.", "text_encoders.clip_g.", "clip_g.transformer.", "clip_g."],
      "text_encoder_2.",
    ],
    kohyaPrefixes,
    spellings: textSpellings,
  },
});

/** Text encoders' modules, with and without `text_model.` in front. */
export const textSpellings = () => (module: string) => [module, module.replace(/^text_model\./, "")];

/** Sizes by which UNets of latent diffusion are told apart. */
export interface UnetSignature {
  /** Width of the first level. */
  width: number;
  /** Channels of the input: 4 are latents alone. */
  inputs: number;
  /** Width of the text's hidden states. */
  context: number;
  /** Width of the further conditions; 0 without. */
  conditions: number;
}

/** The sizes of the UNet in one file; undefined where it holds none of the original's. */
export function unetSignature(file: WeightsFile): UnetSignature | undefined {
  const shapeOf = (pattern: RegExp): readonly number[] | undefined => {
    const name = file.keys().find((key) => pattern.test(key));
    return name === undefined ? undefined : file.info(name).shape;
  };
  const first = shapeOf(/^model\.diffusion_model\.input_blocks\.0\.0\.weight$/);
  if (!first) return undefined;
  return {
    width: first[0] ?? 0,
    inputs: first[1] ?? 0,
    context: shapeOf(/^model\.diffusion_model\..*attn2\.to_k\.weight$/)?.[1] ?? 0,
    conditions: shapeOf(/^model\.diffusion_model\.label_emb\.0\.0\.weight$/)?.[1] ?? 0,
  };
}

const CROSS_ATTENTION_DOWN =
  /attn2[._](?:processor\.)?to_[kv](?:_lora)?[._](?:.*[._])?(?:lora_down|lora_A|down)\b/;

/** Width of the texts that a LoRA's cross-attention looks at; undefined where it changes none. */
export function crossAttentionWidth(file: WeightsFile): number | undefined {
  const name = file.keys().find((key) => CROSS_ATTENTION_DOWN.test(key));
  return name === undefined ? undefined : file.info(name).shape[1];
}
