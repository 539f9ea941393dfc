import {
  Conv2d,
  cat,
  checkpoint,
  type Device,
  type DType,
  GroupNorm,
  Module,
  scope,
  silu,
  type Tensor,
  tensor,
} from "@spo/torch";
import { z } from "zod";
import { checkConfig, count, MOST, only, onlySilu, refuseUnknown } from "../config.js";
import { type Context, rowsOf } from "./attention.js";
import type { DenoiserModel, ForwardOptions } from "./denoiser-model.js";
import { plainly } from "./layer-call.js";
import { repeatRows } from "./repeat-rows.js";
import { TimestepEmbedding, timestepEmbedding } from "./timestep-embedding.js";
import { type BlockInputs, DownBlock2D, MidBlock2D, UpBlock2D } from "./unet-2d-blocks.js";

const perLevel = (most: number) => z.union([count(most), z.array(count(most))]);

/** One number for a level, or one for each of its layers. */
const perLayer = z.union([z.int().min(0).max(MOST.layers), z.array(count(MOST.layers))]);

/** Block types as diffusers has always called them, and with the prefix that it takes off. */
const blockType = <T extends string>(names: readonly [T, ...T[]]) =>
  z
    .string()
    .transform((name) => name.replace(/^UNetRes/, ""))
    .pipe(z.enum(names));

/** `false`, or a list with one `false` for each level. */
const noneOf = only(false).or(z.array(z.literal(false)));

const Fields = z.looseObject({
  _diffusers_version: z.string().optional(),
  sample_size: z.union([count(MOST.latent), z.array(count(MOST.latent)).length(2)]).nullish(),
  in_channels: count(MOST.width).default(4),
  out_channels: count(MOST.width).default(4),
  block_out_channels: z.array(count(MOST.width)).min(1).max(MOST.levels).default([320, 640, 1280, 1280]),
  layers_per_block: perLevel(MOST.layers).default(2),
  down_block_types: z
    .array(blockType(["DownBlock2D", "CrossAttnDownBlock2D"]))
    .default(["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"]),
  up_block_types: z
    .array(blockType(["UpBlock2D", "CrossAttnUpBlock2D"]))
    .default(["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]),
  cross_attention_dim: perLevel(MOST.width).default(1280),
  /** The number of heads, despite the name. */
  attention_head_dim: perLevel(MOST.heads).default(8),
  /** By level; a list in the list counts each layer on the way down. */
  transformer_layers_per_block: z.union([count(MOST.layers), z.array(perLayer)]).default(1),
  /** The same on the way up, from the innermost level. Default: as on the way down. */
  reverse_transformer_layers_per_block: z.array(perLayer).nullish(),
  use_linear_projection: z.boolean().default(false),
  norm_num_groups: count(MOST.width).default(32),
  norm_eps: z.number().positive().max(1).default(1e-5),
  flip_sin_to_cos: z.boolean().default(true),
  freq_shift: z.number().min(-100).max(100).default(0),
  addition_embed_type: z.enum(["text_time"]).nullish(),
  /** Of no effect without `addition_embed_type: "text"`. */
  addition_embed_type_num_heads: z.unknown().optional(),
  addition_time_embed_dim: count(MOST.width).multipleOf(2).nullish(),
  projection_class_embeddings_input_dim: count(MOST.width).nullish(),
  act_fn: onlySilu,
  /** null: none, as in distilled models. */
  mid_block_type: z
    .enum(["UNetMidBlock2DCrossAttn", "UNetMidBlock2D"])
    .nullable()
    .default("UNetMidBlock2DCrossAttn"),
  resnet_time_scale_shift: only("default"),
  downsample_padding: only(1),
  dropout: only(0),
  mid_block_scale_factor: only(1),
  center_input_sample: only(false),
  time_embedding_type: only("positional"),
  time_embedding_dim: only(null),
  time_embedding_act_fn: only(null),
  timestep_post_act: only(null),
  /** Width of the embedded guidance scale, which models distilled from guided ones are told. */
  time_cond_proj_dim: z.int().min(4).max(MOST.width).multipleOf(2).nullish(),
  conv_in_kernel: only(3),
  conv_out_kernel: only(3),
  num_attention_heads: only(null),
  dual_cross_attention: only(false),
  only_cross_attention: noneOf,
  cross_attention_norm: only(null),
  attention_type: only("default"),
  class_embed_type: only(null),
  num_class_embeds: only(null),
  class_embeddings_concat: only(false),
  encoder_hid_dim: only(null),
  encoder_hid_dim_type: only(null),
  resnet_skip_time_act: only(false),
  resnet_out_scale_factor: only(1),
  mid_block_only_cross_attention: only(false),
  /** Of no effect, as in diffusers: fused attention sums its scores in float32 anyway. */
  upcast_attention: z.boolean().nullish(),
});

/** config.json of diffusers' UNet2DConditionModel, as far as text-to-image models of Stable Diffusion and SDXL use it. */
export const UNet2DConditionConfig = Fields.check((payload) => {
  refuseUnknown(payload, Fields.shape);
  const { value, issues } = payload;
  const fault = (path: string, message: string): void => {
    issues.push({ code: "custom", path: [path], message, input: value });
  };
  const levels = value.block_out_channels.length;
  const lists = {
    down_block_types: value.down_block_types,
    up_block_types: value.up_block_types,
    layers_per_block: value.layers_per_block,
    attention_head_dim: value.attention_head_dim,
    cross_attention_dim: value.cross_attention_dim,
    transformer_layers_per_block: value.transformer_layers_per_block,
    reverse_transformer_layers_per_block: value.reverse_transformer_layers_per_block,
  };
  for (const [name, list] of Object.entries(lists)) {
    if (Array.isArray(list) && list.length !== levels)
      fault(name, `has ${list.length} entries for ${levels} levels of block_out_channels`);
  }
  if ((value.block_out_channels[0] as number) % 2 !== 0)
    fault("block_out_channels", "the first is halved into sines and cosines, and is odd");
  const blocks = value.block_out_channels.reduce((sum, _, level) => {
    const { transformer_layers_per_block: down, reverse_transformer_layers_per_block: up } = value;
    const depths = [at(down, level), up?.[levels - 1 - level] ?? at(down, level)].map((depth) =>
      Array.isArray(depth) ? depth.reduce((all, each) => all + each, 0) : (depth ?? 0),
    );
    const layers = at(value.layers_per_block, level) as number | undefined;
    return sum + (2 * (layers ?? 0) + 1) * (1 + Math.max(...(depths as [number, number])));
  }, 0);
  if (blocks > MOST.blocks)
    fault(
      "layers_per_block",
      `and the transformer layers make some ${blocks} blocks; the most is ${MOST.blocks}`,
    );
  for (const [level, channels] of value.block_out_channels.entries()) {
    const { norm_num_groups: groups, attention_head_dim: heads } = value;
    if (channels % groups !== 0)
      fault("norm_num_groups", `${channels} channels of level ${level} do not divide into ${groups} groups`);
    const headsHere = typeof heads === "number" ? heads : (heads[level] ?? 1);
    if (attends(value, level) && channels % headsHere !== 0)
      fault(
        "attention_head_dim",
        `${channels} channels of level ${level} do not divide into ${headsHere} heads`,
      );
  }
  for (const [level] of value.block_out_channels.entries()) {
    const { transformer_layers_per_block: down, reverse_transformer_layers_per_block: up } = value;
    const layers = at(value.layers_per_block, level);
    const fits = (depths: number | number[] | undefined, count: number): boolean =>
      Array.isArray(depths) ? depths.length >= count : depths !== 0;
    const last = levels - 1 - level;
    const mid = last === 0 && value.mid_block_type === "UNetMidBlock2DCrossAttn";
    const attending = value.down_block_types[level] === "CrossAttnDownBlock2D" ? layers : mid ? 1 : 0;
    if (attending > 0 && !fits(at(down, level), attending))
      fault("transformer_layers_per_block", `level ${level} has ${attending} layers that attend`);
    if (value.up_block_types[last] === "CrossAttnUpBlock2D") {
      const nested = Array.isArray(down) && Array.isArray(down[level]);
      if (!up && nested)
        fault("reverse_transformer_layers_per_block", "is needed where the way down counts each layer");
      else if (!fits(up ? up[last] : at(down, level), layers + 1))
        fault(
          up ? "reverse_transformer_layers_per_block" : "transformer_layers_per_block",
          `level ${level} has ${layers + 1} layers that attend on the way up`,
        );
    }
  }
  if (value.addition_embed_type === "text_time") {
    for (const name of ["addition_time_embed_dim", "projection_class_embeddings_input_dim"] as const)
      if (!value[name]) fault(name, 'is needed with addition_embed_type "text_time"');
  }
});

/** Whether there is attention at a level, on the way down, in the middle or on the way up. */
function attends(
  {
    block_out_channels: channels,
    down_block_types: down,
    up_block_types: up,
    mid_block_type: mid,
  }: Pick<Sizes, "block_out_channels" | "down_block_types" | "up_block_types" | "mid_block_type">,
  level: number,
): boolean {
  const last = channels.length - 1;
  return (
    down[level] === "CrossAttnDownBlock2D" ||
    up[last - level] === "CrossAttnUpBlock2D" ||
    (level === last && mid === "UNetMidBlock2DCrossAttn")
  );
}
export type UNet2DConditionConfig = z.input<typeof UNet2DConditionConfig>;
type Sizes = z.output<typeof UNet2DConditionConfig>;

/** What a UNet is told of each row of a batch. */
export type UNetConditions = Readonly<{
  /** Encoded text [b, m, d], or each text once. */
  context: Context;
  /** SDXL's pooled, projected text [b, d]. */
  textEmbeds?: Tensor;
  /** SDXL's original height and width, crop top and left, target height and width, in pixels [b, 6]. */
  timeIds?: Tensor;
}>;

/** Numbers in `timeIds`. */
const SIZES = 6;

/**
 * Predicts the noise in latents. Source: diffusers UNet2DConditionModel; Rombach et al. 2022; Podell et al. 2023 for SDXL.
 *
 * sample [b, 4, h, w], timesteps (a number or int64 [b], in [0, 1000)), conditions of b rows → [b, 4, h, w].
 * With conditions for a multiple of b rows the batch is [sample; sample; …], as guidance wants it; what is equal in its parts, all up to
 * the first attention to the text, is computed once.
 * h and w may be any size: up-sampling goes to the size of the skip tensors.
 */
export class UNet2DConditionModel extends Module implements DenoiserModel {
  readonly conv_in: Conv2d;
  readonly time_embedding: TimestepEmbedding;
  readonly add_embedding?: TimestepEmbedding;
  readonly down_blocks: DownBlock2D[];
  readonly up_blocks: UpBlock2D[];
  readonly mid_block?: MidBlock2D;
  readonly conv_norm_out: GroupNorm;
  readonly conv_out: Conv2d;
  readonly #config: Sizes;
  #checkpointing = false;

  /** Throws a UserError for a config value that is not supported. */
  constructor(config: UNet2DConditionConfig) {
    super();
    const sizes = checkConfig(UNet2DConditionConfig, config, "UNet2DConditionModel: config.json");
    this.#config = sizes;
    const channels = sizes.block_out_channels;
    const levels = channels.length;
    const first = channels[0] as number;
    const timeDim = first * 4;
    const depths = (given: number | number[], layers: number): number[] =>
      Array.isArray(given) ? given : Array.from({ length: layers }, () => given);
    const transformer = (level: number, depths: number[]) => ({
      heads: at(sizes.attention_head_dim, level),
      depths,
      contextDim: at(sizes.cross_attention_dim, level),
      linear: sizes.use_linear_projection,
    });
    const common = { timeDim, groups: sizes.norm_num_groups, eps: sizes.norm_eps };

    this.conv_in = new Conv2d(sizes.in_channels, first, 3, { padding: 1 });
    this.time_embedding = new TimestepEmbedding(first, timeDim, sizes.time_cond_proj_dim);
    if (sizes.addition_embed_type === "text_time") {
      this.add_embedding = new TimestepEmbedding(
        sizes.projection_class_embeddings_input_dim as number,
        timeDim,
      );
    }
    const { transformer_layers_per_block: downDepths, reverse_transformer_layers_per_block: upDepths } =
      sizes;
    const skips = [first];
    this.down_blocks = channels.map((out, level) => {
      const layers = at(sizes.layers_per_block, level);
      const down = level < levels - 1;
      skips.push(...Array.from({ length: layers + (down ? 1 : 0) }, () => out));
      return new DownBlock2D(channels[level - 1] ?? first, out, {
        ...common,
        layers,
        down,
        transformer:
          sizes.down_block_types[level] === "CrossAttnDownBlock2D"
            ? transformer(level, depths(at(downDepths, level), layers))
            : undefined,
      });
    });
    const last = channels.at(-1) as number;
    if (sizes.mid_block_type !== null) {
      const attends = sizes.mid_block_type === "UNetMidBlock2DCrossAttn";
      this.mid_block = new MidBlock2D(last, {
        ...common,
        layers: 1,
        transformer: attends ? transformer(levels - 1, depths(at(downDepths, levels - 1), 1)) : undefined,
      });
    }
    this.up_blocks = channels.toReversed().map((out, i) => {
      const level = levels - 1 - i;
      const layers = at(sizes.layers_per_block, level) + 1;
      return new UpBlock2D(channels[level + 1] ?? last, out, skips.splice(-layers).toReversed(), {
        ...common,
        layers,
        up: i < levels - 1,
        transformer:
          sizes.up_block_types[i] === "CrossAttnUpBlock2D"
            ? transformer(level, depths(upDepths?.[i] ?? at(downDepths, level), layers))
            : undefined,
      });
    });
    this.conv_norm_out = new GroupNorm(sizes.norm_num_groups, first, { eps: sizes.norm_eps });
    this.conv_out = new Conv2d(first, sizes.out_channels, 3, { padding: 1 });
  }

  get config(): Sizes {
    return this.#config;
  }

  get device(): Device {
    return this.conv_in.weight.device;
  }

  get dtype(): DType {
    return this.conv_in.weight.dtype;
  }

  get latentChannels(): number {
    return this.#config.in_channels;
  }

  get sampleSize(): readonly [height: number, width: number] {
    const size = this.#config.sample_size ?? 64;
    return typeof size === "number" ? [size, size] : (size as [number, number]);
  }

  /** Up-sampling goes to the size of the skip tensors. */
  get latentMultiple(): number {
    return 1;
  }

  get takesGuidance(): boolean {
    return true;
  }

  get embedsGuidance(): boolean {
    return Boolean(this.#config.time_cond_proj_dim);
  }

  latentShape([height, width]: readonly [number, number]): [number, number, number] {
    return [this.latentChannels, height, width];
  }

  conditionShapes(tokens: number): Readonly<Record<string, readonly number[]>> {
    const {
      cross_attention_dim: width,
      projection_class_embeddings_input_dim: all,
      addition_time_embed_dim: size,
    } = this.#config;
    const context = [tokens, at(width, 0) as number];
    if (!this.add_embedding) return { context };
    return { context, textEmbeds: [(all as number) - SIZES * (size as number)], timeIds: [SIZES] };
  }

  blank(): UNet2DConditionModel {
    return new UNet2DConditionModel(this.#config);
  }

  /** Leaves out the blocks of the way up, for a model that looks at `meanStates` alone: `forward` throws then. */
  dropWayUp(): void {
    this.up_blocks.length = 0;
  }

  get gradientCheckpointing(): boolean {
    return this.#checkpointing;
  }

  /**
   * Keeps for backward only the inputs of each residual and transformer block, and computes a block again when backward comes to it: a
   * fraction of the memory for about a third more time. Gradients stay the same.
   */
  set gradientCheckpointing(on: boolean) {
    this.#checkpointing = on;
  }

  forward(
    sample: Tensor,
    timesteps: Tensor | number,
    conditions: UNetConditions,
    { guidanceScale, tap }: ForwardOptions = {},
  ): Tensor {
    if (this.up_blocks.length === 0)
      throw new Error("UNet2DConditionModel: without its way up it predicts nothing");
    return scope(() => {
      const { context } = conditions;
      const { mid, skips, inputs } = this.#contract(sample, timesteps, conditions, { guidanceScale, tap });
      let h = mid;
      for (const [i, block] of this.up_blocks.entries()) {
        h = block.forward(h, skips, inputs);
        tap?.(`up.${i}`, h);
      }
      // A UNet without attention to the text has not parted the batch yet.
      h = repeatRows(h, rowsOf(context));
      if (tap) tap("conv_norm_out", this.conv_norm_out.forward(h));
      h = this.conv_out.forward(this.conv_norm_out.forwardSilu(h));
      tap?.("out", h);
      return h;
    });
  }

  /**
   * Means over space of the states after the last layer of each level, before its down-sampling, and of those after the middle block: one
   * [rows, c] each, of as many rows as the conditions. For a model that judges latents: the way up is not run. Arguments as of `forward`.
   */
  meanStates(sample: Tensor, timesteps: Tensor | number, conditions: UNetConditions): Tensor[] {
    return scope(() => {
      const { levels, mid } = this.#contract(sample, timesteps, conditions);
      return [...levels, mid].map((state) => repeatRows(state.mean([2, 3]), rowsOf(conditions.context)));
    });
  }

  /** Down and through the middle. skips: for the way up, last in, first out; inputs: of its blocks; levels: after each one's last layer. */
  #contract(
    sample: Tensor,
    timesteps: Tensor | number,
    conditions: UNetConditions,
    { guidanceScale, tap }: ForwardOptions = {},
  ): { levels: Tensor[]; mid: Tensor; skips: Tensor[]; inputs: BlockInputs } {
    return scope(() => {
      const { context } = conditions;
      const temb = silu(this.#embedTime(sample, timesteps, conditions, { guidanceScale, tap }));
      const inputs = { temb, context, call: this.#checkpointing ? checkpoint : plainly };
      // SDXL's added conditions enter with the timestep, and part the batch before the first layer.
      let h = this.conv_in.forward(conditions.textEmbeds ? repeatRows(sample, rowsOf(context)) : sample);
      tap?.("conv_in", h);
      const skips = [h];
      const levels: Tensor[] = [];
      for (const [i, block] of this.down_blocks.entries()) {
        const down = block.forward(
          h,
          inputs,
          tap && ((name, value) => name.endsWith(".0") && tap(`down.${i}.${name}`, value)),
        );
        h = down.x;
        skips.push(...down.skips);
        levels.push(down.skips[block.resnets.length - 1] as Tensor);
        tap?.(`down.${i}`, h);
        for (const [j, skip] of down.skips.entries()) tap?.(`down.${i}.res.${j}`, skip);
      }
      if (this.mid_block) {
        h = this.mid_block.forward(h, inputs);
        tap?.("mid", h);
      }
      return { levels, mid: h, skips, inputs };
    });
  }

  /** [b] timesteps → [1 or b, timeDim]; with SDXL's conditions as many rows as those have. */
  #embedTime(
    sample: Tensor,
    timesteps: Tensor | number,
    { textEmbeds, timeIds }: UNetConditions,
    { guidanceScale, tap }: ForwardOptions,
  ): Tensor {
    return scope(() => {
      const { flip_sin_to_cos: flip, freq_shift: shift, block_out_channels: channels } = this.#config;
      const batch = sample.shape[0] as number;
      const { dtype, device } = sample;
      // One row where all rows share the timestep; it broadcasts.
      const t = typeof timesteps === "number" ? tensor([timesteps], { device }) : timesteps;
      const sinusoid = timestepEmbedding(t, channels[0] as number, { flip, shift }).to({ dtype });
      tap?.("time_proj", sinusoid.expand([batch, -1]));
      const temb = this.time_embedding.forward(sinusoid, this.#embedGuidance(guidanceScale, sample));
      tap?.("time_embedding", temb.expand([batch, -1]));
      if (!this.add_embedding) return temb;
      if (!textEmbeds || !timeIds)
        throw new Error("UNet2DConditionModel: this model needs the conditions textEmbeds and timeIds");
      const times = timestepEmbedding(timeIds.flatten(), this.#config.addition_time_embed_dim as number, {
        flip,
        shift,
      });
      tap?.("add_time_proj", times);
      const extra = this.add_embedding.forward(
        cat([textEmbeds.to({ dtype }), times.reshape([timeIds.shape[0] as number, -1]).to({ dtype })], 1),
      );
      tap?.("add_embedding", extra);
      return (temb.shape[0] === 1 ? temb : repeatRows(temb, extra.shape[0] as number)).add(extra);
    });
  }

  /** [1, time_cond_proj_dim]. Source: Meng et al. 2023; diffusers `get_guidance_scale_embedding` of the scale less 1. */
  #embedGuidance(guidanceScale: number | undefined, { dtype, device }: Tensor): Tensor | undefined {
    const { time_cond_proj_dim: width } = this.#config;
    if (!width || guidanceScale === undefined) return undefined;
    return scope(() =>
      timestepEmbedding(tensor([1000 * (guidanceScale - 1)], { device }), width, {
        flip: false,
        shift: 1,
      }).to({
        dtype,
      }),
    );
  }
}

/** A level's value of a field that has one number for all levels, or a list. */
const at = <T>(value: number | T[], level: number): number | T =>
  typeof value === "number" ? value : (value[level] as T);
