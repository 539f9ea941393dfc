// CLIP as open_clip names and sizes it: HPS v2, LAION's models.

import { count, MOST } from "@spo/diffusion";
import type { Tensor } from "@spo/torch";
import { UserError } from "@spo/torch";
import { z } from "zod";
import type { ClipConfigInput } from "./clip-config.js";

type Weights = ReadonlyMap<string, Tensor>;

/** Values of `open_clip_config.json` that shapes do not give. */
export const OpenClipConfig = z.looseObject({
  model_cfg: z.looseObject({
    quick_gelu: z.boolean().default(false),
    vision_cfg: z.looseObject({ head_width: count(MOST.width).default(64) }),
    text_cfg: z.looseObject({ heads: count(MOST.heads).default(8) }),
  }),
});
export type OpenClipConfig = z.output<typeof OpenClipConfig>;

/** Whether weights stand under open_clip's names. */
export const isOpenClip = (names: Iterable<string>): boolean =>
  [...names].some((name) => name === "visual.conv1.weight");

/** open_clip's name → transformers' CLIPModel's, for what is more than a change of words. */
const NAMES: readonly [RegExp, string][] = [
  [/^visual\.class_embedding$/, "vision_model.embeddings.class_embedding"],
  [/^visual\.conv1\.weight$/, "vision_model.embeddings.patch_embedding.weight"],
  [/^visual\.positional_embedding$/, "vision_model.embeddings.position_embedding.weight"],
  [/^visual\.ln_pre\./, "vision_model.pre_layrnorm."],
  [/^visual\.ln_post\./, "vision_model.post_layernorm."],
  [/^visual\.transformer\.resblocks\./, "vision_model.encoder.layers."],
  [/^token_embedding\.weight$/, "text_model.embeddings.token_embedding.weight"],
  [/^positional_embedding$/, "text_model.embeddings.position_embedding.weight"],
  [/^ln_final\./, "text_model.final_layer_norm."],
  [/^transformer\.resblocks\./, "text_model.encoder.layers."],
];
const IN_LAYERS: readonly [RegExp, string][] = [
  [/\.ln_1\./, ".layer_norm1."],
  [/\.ln_2\./, ".layer_norm2."],
  [/\.attn\.out_proj\./, ".self_attn.out_proj."],
  [/\.mlp\.c_fc\./, ".mlp.fc1."],
  [/\.mlp\.c_proj\./, ".mlp.fc2."],
];

/**
 * Weights in open_clip's naming → in that of transformers' CLIPModel. q, k and v are stacked in `in_proj`; the two projections are
 * transposes of a linear map's weight. A name that is not known passes as it is, so that loading reports it.
 */
export function fromOpenClip(weights: Weights): Map<string, Tensor> {
  const converted = new Map<string, Tensor>();
  for (const [name, value] of weights) {
    if (name.endsWith("attn_mask")) continue; // a buffer of older files
    if (name === "visual.proj") converted.set("visual_projection.weight", value.transpose(0, 1).contiguous());
    else if (name === "text_projection")
      converted.set("text_projection.weight", value.transpose(0, 1).contiguous());
    else if (/\.attn\.in_proj_(weight|bias)$/.test(name)) {
      const [at, kind] = renamed(name).split(".attn.in_proj_") as [string, string];
      for (const [i, part] of value.chunk(3, 0).entries())
        converted.set(`${at}.self_attn.${"qkv"[i]}_proj.${kind}`, part);
    } else converted.set(renamed(name), value);
  }
  return converted;
}

const renamed = (name: string): string => {
  const outer = NAMES.find(([from]) => from.test(name));
  if (!outer) return name;
  return IN_LAYERS.reduce((text, [from, to]) => text.replace(from, to), name.replace(...outer));
};

/** Head widths of published models, which shapes do not give, by the width of the vision tower: H/14, g/14, bigG/14. */
const HEAD_WIDTHS: Readonly<Record<number, number>> = { 1280: 80, 1408: 88, 1664: 104 };

/**
 * The sizes of a model from the shapes of its weights (open_clip's names), with what they do not tell from `open_clip_config.json`; without
 * that file, as LAION's large models have it.
 *
 * Throws a UserError (`DATA`) for weights of something else, and where neither tells the number of heads.
 */
export function openClipSizes(weights: Weights, source: string, config?: OpenClipConfig): ClipConfigInput {
  const shape = (name: string): readonly number[] => {
    const found = weights.get(name)?.shape;
    if (!found)
      throw new UserError(`${source} is no CLIP in open_clip's naming: it has no ${name}.`, { code: "DATA" });
    return found;
  };
  const layers = (prefix: string): number =>
    new Set(
      [...weights.keys()].flatMap((name) =>
        name.startsWith(prefix) ? [name.slice(prefix.length).split(".")[0]] : [],
      ),
    ).size;
  const [width, channels, patch] = shape("visual.conv1.weight") as [number, number, number];
  const [tokens] = shape("visual.positional_embedding") as [number];
  const [vocabulary, textWidth] = shape("token_embedding.weight") as [number, number];
  const headWidth = config?.model_cfg.vision_cfg.head_width ?? HEAD_WIDTHS[width];
  if (!headWidth) {
    throw new UserError(
      `${source}: the shapes do not tell how many heads a vision tower of width ${width} has.`,
      { code: "DATA", hint: "Put the open_clip_config.json that came with it beside it." },
    );
  }
  const activation = config?.model_cfg.quick_gelu ? "quick_gelu" : "gelu";
  return {
    projection_dim: shape("text_projection")[1],
    text_config: {
      hidden_size: textWidth,
      intermediate_size: shape("transformer.resblocks.0.mlp.c_fc.weight")[0],
      num_attention_heads: config?.model_cfg.text_cfg.heads ?? textWidth / 64,
      num_hidden_layers: layers("transformer.resblocks."),
      vocab_size: vocabulary,
      max_position_embeddings: shape("positional_embedding")[0],
      hidden_act: activation,
    },
    vision_config: {
      hidden_size: width,
      intermediate_size: shape("visual.transformer.resblocks.0.mlp.c_fc.weight")[0],
      num_attention_heads: width / headWidth,
      num_hidden_layers: layers("visual.transformer.resblocks."),
      image_size: Math.round(Math.sqrt(tokens - 1)) * patch,
      patch_size: patch,
      num_channels: channels,
      hidden_act: activation,
    },
  };
}
