import { checkpoint, type Device, type DType, Linear, Module, scope, silu, type Tensor } from "@spo/torch";
import { z } from "zod";
import { checkConfig, count, MOST, refuseUnknown } from "../config.js";
import { AdaLayerNorm, modulate } from "./ada-layer-norm.js";
import { projectContext } from "./attention.js";
import type { DenoiserModel, ForwardOptions } from "./denoiser-model.js";
import type { FlowConditions } from "./flow-conditions.js";
import { JointTransformerBlock, runJointBlocks } from "./joint-transformer-block.js";
import { plainly } from "./layer-call.js";
import { PatchEmbed } from "./patch-embed.js";
import { inPatches, unpackLatents } from "./patches.js";
import { repeatRows } from "./repeat-rows.js";
import { TimeTextEmbedding } from "./time-text-embedding.js";

const Fields = z.looseObject({
  sample_size: count(MOST.latent).default(128),
  patch_size: count(64).default(2),
  in_channels: count(MOST.width).default(16),
  out_channels: count(MOST.width).default(16),
  num_layers: count(MOST.layers).default(18),
  attention_head_dim: count(MOST.width).default(64),
  num_attention_heads: count(MOST.heads).default(18),
  joint_attention_dim: count(MOST.width).default(4096),
  caption_projection_dim: count(MOST.width).default(1152),
  pooled_projection_dim: count(MOST.width).default(2048),
  pos_embed_max_size: count(MOST.latent).default(96),
  dual_attention_layers: z.array(z.int().min(0)).default([]),
  qk_norm: z.literal("rms_norm").nullish(),
});

/** config.json of diffusers' SD3Transformer2DModel. */
export const SD3Transformer2DConfig = Fields.check((payload) => {
  refuseUnknown(payload, Fields.shape);
  const { value, issues } = payload;
  const fault = (path: string, message: string): void => {
    issues.push({ code: "custom", path: [path], message, input: value });
  };
  const width = value.num_attention_heads * value.attention_head_dim;
  if (value.caption_projection_dim !== width)
    fault(
      "caption_projection_dim",
      `is ${value.caption_projection_dim}, and the heads make a width of ${width}`,
    );
  if (width % 4 !== 0) fault("attention_head_dim", `makes a width of ${width}, which is no multiple of 4`);
  for (const layer of value.dual_attention_layers)
    if (layer >= value.num_layers)
      fault("dual_attention_layers", `names layer ${layer} of ${value.num_layers}`);
});
export type SD3Transformer2DConfig = z.input<typeof SD3Transformer2DConfig>;

/**
 * Predicts the velocity of latents: the transformer of Stable Diffusion 3 and 3.5.
 *
 * sample [b, c, h, w], timesteps (a number or [b], 1000·σ), conditions of b rows → [b, c, h, w]. With conditions for a multiple of b rows
 * the batch is [sample; sample; …]. h and w are multiples of `patch_size`.
 * Source: Esser et al. 2024, section 4; diffusers SD3Transformer2DModel.
 */
export class SD3Transformer2DModel extends Module implements DenoiserModel {
  readonly pos_embed: PatchEmbed;
  readonly time_text_embed: TimeTextEmbedding;
  readonly context_embedder: Linear;
  readonly transformer_blocks: JointTransformerBlock[];
  readonly norm_out: AdaLayerNorm;
  readonly proj_out: Linear;
  readonly embedsGuidance = false;
  readonly takesGuidance = true;
  readonly #config: z.output<typeof SD3Transformer2DConfig>;
  #checkpointing = false;

  /** Throws a UserError for a config value that is not supported. */
  constructor(config: SD3Transformer2DConfig) {
    super();
    const sizes = checkConfig(SD3Transformer2DConfig, config, "SD3Transformer2DModel: config.json");
    this.#config = sizes;
    const {
      num_attention_heads: heads,
      attention_head_dim: headDim,
      patch_size: patch,
      num_layers: layers,
    } = sizes;
    const width = heads * headDim;
    this.pos_embed = new PatchEmbed({
      patch,
      channels: sizes.in_channels,
      width,
      maxSize: sizes.pos_embed_max_size,
      baseSize: Math.floor(sizes.sample_size / patch),
    });
    this.time_text_embed = new TimeTextEmbedding(width, sizes.pooled_projection_dim);
    this.context_embedder = new Linear(sizes.joint_attention_dim, width);
    this.transformer_blocks = Array.from(
      { length: layers },
      (_, i) =>
        new JointTransformerBlock({
          heads,
          headDim,
          qkNorm: Boolean(sizes.qk_norm),
          dual: sizes.dual_attention_layers.includes(i),
          readsContextOnly: i === layers - 1,
        }),
    );
    this.norm_out = new AdaLayerNorm(width, 2);
    this.proj_out = new Linear(width, patch ** 2 * sizes.out_channels);
  }

  get config(): z.output<typeof SD3Transformer2DConfig> {
    return this.#config;
  }

  get device(): Device {
    return this.proj_out.weight.device;
  }

  get dtype(): DType {
    return this.proj_out.weight.dtype;
  }

  get latentChannels(): number {
    return this.#config.in_channels;
  }

  get sampleSize(): readonly [height: number, width: number] {
    return [this.#config.sample_size, this.#config.sample_size];
  }

  get latentMultiple(): number {
    return this.#config.patch_size;
  }

  latentShape(size: readonly [number, number]): [number, number, number] {
    inPatches(size, this.#config.patch_size);
    return [this.latentChannels, ...size];
  }

  conditionShapes(tokens: number): Readonly<Record<string, readonly number[]>> {
    const { joint_attention_dim: width, pooled_projection_dim: pooled } = this.#config;
    return { context: [tokens, width], pooled: [pooled] };
  }

  blank(): SD3Transformer2DModel {
    return new SD3Transformer2DModel(this.#config);
  }

  get gradientCheckpointing(): boolean {
    return this.#checkpointing;
  }

  /** Keeps for backward only the inputs of each block, and computes a block again when backward comes to it. Gradients stay the same. */
  set gradientCheckpointing(on: boolean) {
    this.#checkpointing = on;
  }

  forward(
    sample: Tensor,
    timesteps: Tensor | number,
    { context, pooled }: FlowConditions,
    { tap }: ForwardOptions = {},
  ): Tensor {
    return scope(() => {
      const { patch_size: patch } = this.#config;
      const size = inPatches(sample.shape.slice(2) as [number, number], patch);
      const rows = pooled.shape[0] as number;
      const temb = silu(this.time_text_embed.forward(timesteps, pooled.to({ dtype: sample.dtype }), { tap }));
      const image = repeatRows(this.pos_embed.forward(sample, tap), rows);
      tap?.("pos_embed", image);
      const text = projectContext(context, this.context_embedder);
      tap?.("context_embedder", text);
      const call = this.#checkpointing ? checkpoint : plainly;
      const tokens = runJointBlocks(this.transformer_blocks, { image, context: text }, temb, { call, tap });
      const [scale, shift] = this.norm_out.forward(temb) as [Tensor, Tensor];
      const normed = modulate(tokens.image, shift, scale);
      tap?.("norm_out", normed);
      const patches = this.proj_out.forward(normed);
      tap?.("proj_out", patches);
      // Of each patch [p, p, c], channels last.
      return unpackLatents(
        patches
          .unflatten(-1, [patch ** 2, -1])
          .transpose(2, 3)
          .flatten(2),
        size,
        patch,
      );
    });
  }
}
