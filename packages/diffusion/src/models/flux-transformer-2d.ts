import {
  cat,
  checkpoint,
  type Device,
  type DType,
  Linear,
  Module,
  scope,
  silu,
  type Tensor,
  zeros,
} from "@spo/torch";
import { z } from "zod";
import { checkConfig, count, MOST, only, refuseUnknown } from "../config.js";
import { AdaLayerNorm, modulate } from "./ada-layer-norm.js";
import { projectContext } from "./attention.js";
import type { DenoiserModel, ForwardOptions } from "./denoiser-model.js";
import type { FlowConditions } from "./flow-conditions.js";
import { FluxSingleTransformerBlock } from "./flux-single-transformer-block.js";
import { JointTransformerBlock, runJointBlocks } from "./joint-transformer-block.js";
import { plainly } from "./layer-call.js";
import { inPatches, packLatents, unpackLatents } from "./patches.js";
import { repeatRows } from "./repeat-rows.js";
import { imageIds, rotaryEmbedding } from "./rotary-embedding.js";
import { TimeTextEmbedding } from "./time-text-embedding.js";

/** Side of the patches that latents are packed into before the model. */
const PATCH = 2;

/** Sides of the latents that the pipeline draws by default; the config does not say. */
const SAMPLE_SIZE = 128;

const Fields = z.looseObject({
  patch_size: only(1),
  in_channels: count(MOST.width)
    .multipleOf(PATCH ** 2)
    .default(64),
  out_channels: count(MOST.width)
    .multipleOf(PATCH ** 2)
    .nullish(),
  num_layers: count(MOST.layers).default(19),
  num_single_layers: count(MOST.layers).default(38),
  attention_head_dim: count(MOST.width).default(128),
  num_attention_heads: count(MOST.heads).default(24),
  joint_attention_dim: count(MOST.width).default(4096),
  pooled_projection_dim: count(MOST.width).default(768),
  guidance_embeds: z.boolean().default(false),
  axes_dims_rope: z.array(count(MOST.width).multipleOf(2)).length(3).default([16, 56, 56]),
});

/** config.json of diffusers' FluxTransformer2DModel. */
export const FluxTransformer2DConfig = Fields.check((payload) => {
  refuseUnknown(payload, Fields.shape);
  const { value, issues } = payload;
  const axes = value.axes_dims_rope.reduce((sum, width) => sum + width, 0);
  if (axes !== value.attention_head_dim) {
    const message = `make ${axes} features, and a head has ${value.attention_head_dim}`;
    issues.push({ code: "custom", path: ["axes_dims_rope"], message, input: value });
  }
});
export type FluxTransformer2DConfig = z.input<typeof FluxTransformer2DConfig>;

/**
 * Predicts the velocity of latents: the transformer of FLUX.1.
 *
 * sample [b, c, h, w], h and w even; timesteps (a number or [b]), 1000·σ: the file's code takes σ and multiplies inside; conditions of b
 * rows → [b, c, h, w]. With conditions for a multiple of b rows the batch is [sample; sample; …].
 * Source: Black Forest Labs, `flux`; diffusers FluxTransformer2DModel, FluxPipeline.
 */
export class FluxTransformer2DModel extends Module implements DenoiserModel {
  readonly time_text_embed: TimeTextEmbedding;
  readonly context_embedder: Linear;
  readonly x_embedder: Linear;
  readonly transformer_blocks: JointTransformerBlock[];
  readonly single_transformer_blocks: FluxSingleTransformerBlock[];
  readonly norm_out: AdaLayerNorm;
  readonly proj_out: Linear;
  readonly #config: z.output<typeof FluxTransformer2DConfig>;
  #checkpointing = false;

  /** Throws a UserError for a config value that is not supported. */
  constructor(config: FluxTransformer2DConfig) {
    super();
    const sizes = checkConfig(FluxTransformer2DConfig, config, "FluxTransformer2DModel: config.json");
    this.#config = sizes;
    const { num_attention_heads: heads, attention_head_dim: headDim } = sizes;
    const width = heads * headDim;
    this.time_text_embed = new TimeTextEmbedding(width, sizes.pooled_projection_dim, {
      guidance: sizes.guidance_embeds,
    });
    this.context_embedder = new Linear(sizes.joint_attention_dim, width);
    this.x_embedder = new Linear(sizes.in_channels, width);
    this.transformer_blocks = Array.from(
      { length: sizes.num_layers },
      () => new JointTransformerBlock({ heads, headDim, qkNorm: true }),
    );
    this.single_transformer_blocks = Array.from(
      { length: sizes.num_single_layers },
      () => new FluxSingleTransformerBlock(heads, headDim),
    );
    this.norm_out = new AdaLayerNorm(width, 2);
    this.proj_out = new Linear(width, sizes.out_channels ?? sizes.in_channels);
  }

  get config(): z.output<typeof FluxTransformer2DConfig> {
    return this.#config;
  }

  get device(): Device {
    return this.x_embedder.weight.device;
  }

  get dtype(): DType {
    return this.x_embedder.weight.dtype;
  }

  get latentChannels(): number {
    return this.#config.in_channels / PATCH ** 2;
  }

  get sampleSize(): readonly [height: number, width: number] {
    return [SAMPLE_SIZE, SAMPLE_SIZE];
  }

  /** schnell is told no scale, and was distilled to need no second side. */
  get takesGuidance(): boolean {
    return this.#config.guidance_embeds;
  }

  get embedsGuidance(): boolean {
    return this.#config.guidance_embeds;
  }

  get latentMultiple(): number {
    return PATCH;
  }

  latentShape(size: readonly [number, number]): [number, number, number] {
    inPatches(size, PATCH);
    return [this.latentChannels, ...size];
  }

  conditionShapes(tokens: number): Readonly<Record<string, readonly number[]>> {
    const { joint_attention_dim: width, pooled_projection_dim: pooled } = this.#config;
    return { context: [tokens, width], pooled: [pooled] };
  }

  blank(): FluxTransformer2DModel {
    return new FluxTransformer2DModel(this.#config);
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
    { guidanceScale, tap }: ForwardOptions = {},
  ): Tensor {
    return scope(() => {
      const size = inPatches(sample.shape.slice(2) as [number, number], PATCH);
      const rows = pooled.shape[0] as number;
      const { dtype, device } = sample;
      const temb = silu(
        this.time_text_embed.forward(timesteps, pooled.to({ dtype }), { guidanceScale, tap }),
      );
      const embedded = this.x_embedder.forward(packLatents(sample, PATCH));
      const image = repeatRows(embedded, rows);
      tap?.("x_embedder", image);
      const text = projectContext(context, this.context_embedder);
      tap?.("context_embedder", text);
      const tokens = text.shape[1] as number;
      const ids = cat([zeros([tokens, 3], { device }), imageIds(...size, { device })]);
      const rotation = rotaryEmbedding(ids, this.#config.axes_dims_rope);
      tap?.("rope.cos", rotation.cos);
      tap?.("rope.sin", rotation.sin);

      const joint = runJointBlocks(this.transformer_blocks, { image, context: text }, temb, {
        rotation,
        call: this.#checkpointing ? checkpoint : plainly,
        tap,
      });
      let x = cat([joint.context, joint.image], 1);
      joint.context.dispose();
      joint.image.dispose();
      const call = this.#checkpointing ? checkpoint : plainly;
      for (const [i, block] of this.single_transformer_blocks.entries()) {
        const before = x;
        x = call(
          (x, temb, cos, sin) =>
            block.forward(
              x as Tensor,
              temb as Tensor,
              { cos: cos as Tensor, sin: sin as Tensor },
              tap && ((name, value) => tap(`single.${i}.${name}`, value)),
            ),
          [before, temb, rotation.cos, rotation.sin],
        );
        before.dispose();
        tap?.(`single.${i}.context`, x.narrow(1, 0, tokens));
        tap?.(`single.${i}.image`, x.narrow(1, tokens, size[0] * size[1]));
      }
      const [scale, shift] = this.norm_out.forward(temb) as [Tensor, Tensor];
      const normed = modulate(x.narrow(1, tokens, size[0] * size[1]), shift, scale);
      tap?.("norm_out", normed);
      const patches = this.proj_out.forward(normed);
      tap?.("proj_out", patches);
      return unpackLatents(patches, size, PATCH);
    });
  }
}
