import {
  Conv2d,
  cat,
  type DType,
  type Generator,
  GroupNorm,
  Module,
  randn,
  scope,
  type Tensor,
  tensor,
} from "@spo/torch";
import { z } from "zod";
import { checkConfig, count, MOST, only, onlySilu, refuseUnknown } from "../config.js";
import { Attention } from "./attention.js";
import { mapOfTokens } from "./map-of-tokens.js";
import { Downsample2D, ResnetBlock2D, Upsample2D } from "./resnet.js";
import { byTiles } from "./vae-tiling.js";

const Fields = z.looseObject({
  in_channels: only(3).default(3).pipe(z.literal(3)),
  out_channels: only(3).default(3).pipe(z.literal(3)),
  latent_channels: count(MOST.width).default(4),
  block_out_channels: z.array(count(MOST.width)).min(1).max(MOST.levels).default([64]),
  down_block_types: z.array(z.literal("DownEncoderBlock2D")).default(["DownEncoderBlock2D"]),
  up_block_types: z.array(z.literal("UpDecoderBlock2D")).default(["UpDecoderBlock2D"]),
  layers_per_block: count(64).default(1),
  norm_num_groups: count(MOST.width).default(32),
  sample_size: z.union([count(MOST.side), z.array(count(MOST.side)).length(2)]).nullish(),
  mid_block_add_attention: z.boolean().default(true),
  scaling_factor: z.number().positive().max(1e6).default(0.18215),
  use_quant_conv: z.boolean().default(true),
  use_post_quant_conv: z.boolean().default(true),
  act_fn: onlySilu,
  /** Of each latent channel, before the scaling; both or none. */
  latents_mean: z.array(z.number().min(-1e6).max(1e6)).nullish(),
  latents_std: z.array(z.number().positive().max(1e6)).nullish(),
  /** Taken off a latent before it is scaled. */
  shift_factor: z.number().min(-1e6).max(1e6).nullish(),
  /** Of no effect: the VAE computes in float32. */
  force_upcast: z.boolean().nullish(),
});

/** config.json of diffusers' AutoencoderKL. */
export const AutoencoderKLConfig = Fields.check((payload) => {
  refuseUnknown(payload, Fields.shape);
  const { value, issues } = payload;
  const fault = (path: string, message: string): void => {
    issues.push({ code: "custom", path: [path], message, input: value });
  };
  const { block_out_channels: channels, norm_num_groups: groups } = value;
  for (const name of ["down_block_types", "up_block_types"] as const) {
    if (value[name].length !== channels.length)
      fault(name, `has ${value[name].length} entries for ${channels.length} levels of block_out_channels`);
  }
  for (const name of ["latents_mean", "latents_std"] as const) {
    const length = value[name]?.length;
    if (length !== undefined && length !== value.latent_channels)
      fault(name, `has ${length} entries for ${value.latent_channels} latent channels`);
  }
  if (!value.latents_mean !== !value.latents_std)
    fault(value.latents_mean ? "latents_std" : "latents_mean", "is needed with the other of the two");
  for (const [level, count] of channels.entries()) {
    if (count % groups !== 0)
      fault("norm_num_groups", `${count} channels of level ${level} do not divide into ${groups} groups`);
  }
});
export type AutoencoderKLConfig = z.input<typeof AutoencoderKLConfig>;

const EPS = 1e-6;

/** Attention over pixels with a norm before and the input added after. x [b, c, h, w]. */
class VaeAttention extends Module {
  readonly group_norm: GroupNorm;
  readonly to_q: Attention["to_q"];
  readonly to_k: Attention["to_k"];
  readonly to_v: Attention["to_v"];
  readonly to_out: Attention["to_out"];
  readonly #attention: Attention;

  constructor(channels: number, groups: number) {
    super();
    this.group_norm = new GroupNorm(groups, channels, { eps: EPS });
    // One head over all channels. Its layers stand at this level in the state dict, so the walk must not meet the Attention itself.
    this.#attention = new Attention(channels, 1, channels, { bias: true });
    ({ to_q: this.to_q, to_k: this.to_k, to_v: this.to_v, to_out: this.to_out } = this.#attention);
  }

  forward(x: Tensor): Tensor {
    return scope(() => {
      const [, , height, width] = x.shape as [number, number, number, number];
      const tokens = this.group_norm.forward(x).flatten(2).transpose(1, 2); // [b, h·w, c]
      return mapOfTokens(this.#attention.forward(tokens), height, width).add(x);
    });
  }
}

class MidBlock extends Module {
  readonly attentions: VaeAttention[];
  readonly resnets: [ResnetBlock2D, ResnetBlock2D];

  constructor(channels: number, groups: number, attention: boolean) {
    super();
    this.attentions = attention ? [new VaeAttention(channels, groups)] : [];
    this.resnets = [
      new ResnetBlock2D(channels, channels, { groups, eps: EPS }),
      new ResnetBlock2D(channels, channels, { groups, eps: EPS }),
    ];
  }

  forward(x: Tensor): Tensor {
    return scope(() => {
      const h = this.resnets[0].forward(x);
      return this.resnets[1].forward(this.attentions[0]?.forward(h) ?? h);
    });
  }
}

class DownEncoderBlock2D extends Module {
  readonly resnets: ResnetBlock2D[];
  readonly downsamplers: Downsample2D[];

  constructor(
    inChannels: number,
    outChannels: number,
    { layers, groups, down }: { layers: number; groups: number; down: boolean },
  ) {
    super();
    this.resnets = Array.from(
      { length: layers },
      (_, i) => new ResnetBlock2D(i === 0 ? inChannels : outChannels, outChannels, { groups, eps: EPS }),
    );
    this.downsamplers = down ? [new Downsample2D(outChannels, 0)] : [];
  }

  forward(x: Tensor): Tensor {
    return scope(() => {
      let h = x;
      for (const layer of [...this.resnets, ...this.downsamplers]) h = layer.forward(h);
      return h;
    });
  }
}

class UpDecoderBlock2D extends Module {
  readonly resnets: ResnetBlock2D[];
  readonly upsamplers: Upsample2D[];

  constructor(
    inChannels: number,
    outChannels: number,
    { layers, groups, up }: { layers: number; groups: number; up: boolean },
  ) {
    super();
    this.resnets = Array.from(
      { length: layers },
      (_, i) => new ResnetBlock2D(i === 0 ? inChannels : outChannels, outChannels, { groups, eps: EPS }),
    );
    this.upsamplers = up ? [new Upsample2D(outChannels)] : [];
  }

  forward(x: Tensor): Tensor {
    return scope(() => {
      let h = x;
      for (const resnet of this.resnets) h = resnet.forward(h);
      for (const upsampler of this.upsamplers) h = upsampler.forward(h);
      return h;
    });
  }
}

type Sizes = z.output<typeof AutoencoderKLConfig>;

class Encoder extends Module {
  readonly conv_in: Conv2d;
  readonly down_blocks: DownEncoderBlock2D[];
  readonly mid_block: MidBlock;
  readonly conv_norm_out: GroupNorm;
  readonly conv_out: Conv2d;

  constructor(config: Sizes) {
    super();
    const { block_out_channels: channels, norm_num_groups: groups } = config;
    const first = channels[0] as number;
    const last = channels.at(-1) as number;
    this.conv_in = new Conv2d(config.in_channels, first, 3, { padding: 1 });
    this.down_blocks = channels.map(
      (out, i) =>
        new DownEncoderBlock2D(channels[i - 1] ?? first, out, {
          layers: config.layers_per_block,
          groups,
          down: i < channels.length - 1,
        }),
    );
    this.mid_block = new MidBlock(last, groups, config.mid_block_add_attention);
    this.conv_norm_out = new GroupNorm(groups, last, { eps: EPS });
    this.conv_out = new Conv2d(last, 2 * config.latent_channels, 3, { padding: 1 });
  }

  forward(x: Tensor): Tensor {
    return scope(() => {
      let h = this.conv_in.forward(x);
      for (const block of this.down_blocks) h = block.forward(h);
      h = this.mid_block.forward(h);
      return this.conv_out.forward(this.conv_norm_out.forwardSilu(h));
    });
  }
}

class Decoder extends Module {
  readonly conv_in: Conv2d;
  readonly mid_block: MidBlock;
  readonly up_blocks: UpDecoderBlock2D[];
  readonly conv_norm_out: GroupNorm;
  readonly conv_out: Conv2d;

  constructor(config: Sizes) {
    super();
    const { norm_num_groups: groups } = config;
    const channels = config.block_out_channels.toReversed();
    const first = channels[0] as number;
    const last = channels.at(-1) as number;
    this.conv_in = new Conv2d(config.latent_channels, first, 3, { padding: 1 });
    this.mid_block = new MidBlock(first, groups, config.mid_block_add_attention);
    this.up_blocks = channels.map(
      (out, i) =>
        new UpDecoderBlock2D(channels[i - 1] ?? first, out, {
          layers: config.layers_per_block + 1,
          groups,
          up: i < channels.length - 1,
        }),
    );
    this.conv_norm_out = new GroupNorm(groups, last, { eps: EPS });
    this.conv_out = new Conv2d(last, config.out_channels, 3, { padding: 1 });
  }

  forward(z: Tensor): Tensor {
    return scope(() => {
      let h = this.mid_block.forward(this.conv_in.forward(z));
      for (const block of this.up_blocks) h = block.forward(h);
      return this.conv_out.forward(this.conv_norm_out.forwardSilu(h));
    });
  }
}

/** A diagonal Gaussian over latents. mean, logvar [b, c, h, w]; logvar is clamped to [−30, 20]. */
export interface Posterior {
  mean: Tensor;
  logvar: Tensor;
}

/** How large images pass through the VAE. */
export interface TilingOptions {
  /** Go by tiles where a side is longer than `tile` (diffusers' `enable_tiling`): less memory, slightly other pixels. Default: its own. */
  tiling?: boolean;
}

/** mean + std·noise. noise [b, c, h, w]: standard normal, or a generator to draw it from. */
export function samplePosterior({ mean, logvar }: Posterior, noise: Tensor | Generator): Tensor {
  return scope(() => {
    const z =
      "seed" in noise
        ? randn(mean.shape, { generator: noise, device: mean.device, dtype: mean.dtype })
        : noise;
    return mean.add(logvar.mul(0.5).exp().mul(z));
  });
}

/**
 * The autoencoder of latent diffusion. Source: diffusers AutoencoderKL; Rombach et al. 2022, section 3.1.
 *
 * Latents as the denoiser sees them are the posterior's sample, shifted and scaled: see `toLatents` and `decodeLatents`.
 */
export class AutoencoderKL extends Module {
  readonly encoder: Encoder;
  readonly decoder: Decoder;
  readonly quant_conv?: Conv2d;
  readonly post_quant_conv?: Conv2d;
  /** Whether images pass one at a time (diffusers' `enable_slicing`): the least memory, the same pixels. */
  slicing = false;
  /** Whether they go by tiles: see `TilingOptions`. */
  tiling = false;
  readonly #config: Sizes;

  /** Throws a UserError for a config value that is not supported. */
  constructor(config: AutoencoderKLConfig) {
    super();
    this.#config = checkConfig(AutoencoderKLConfig, config, "AutoencoderKL: config.json");
    const latents = this.#config.latent_channels;
    this.encoder = new Encoder(this.#config);
    this.decoder = new Decoder(this.#config);
    if (this.#config.use_quant_conv) this.quant_conv = new Conv2d(2 * latents, 2 * latents, 1);
    if (this.#config.use_post_quant_conv) this.post_quant_conv = new Conv2d(latents, latents, 1);
  }

  get config(): Sizes {
    return this.#config;
  }

  /** Of its weights and products. What it gives has the dtype of what it is given. */
  get dtype(): DType {
    return this.decoder.conv_in.weight.dtype;
  }

  get scalingFactor(): number {
    return this.#config.scaling_factor;
  }

  /** Pixels per latent, along a side. */
  get factor(): number {
    return 2 ** (this.#config.block_out_channels.length - 1);
  }

  /** Sides of the tiles in pixels and latents: `sample_size`, the size that it was trained at. */
  get tile(): { pixels: number; latents: number } {
    const size = this.#config.sample_size ?? 32; // diffusers' default
    const pixels = (typeof size === "number" ? size : size[0]) as number;
    return { pixels, latents: Math.floor(pixels / this.factor) };
  }

  /** Mean and log-variance before the clamp, as the checkpoint's layers give them. x [b, 3, h, w] in [−1, 1] → [b, 2c, h/f, w/f]. */
  moments(x: Tensor, { tiling = this.tiling }: TilingOptions = {}): Tensor {
    const { pixels, latents } = this.tile;
    if (this.slicing && (x.shape[0] as number) > 1)
      return scope(() => cat(x.split(1).map((image) => this.moments(image, { tiling }))));
    if (tiling && isBeyond(x, pixels))
      return byTiles(x, (tile) => this.moments(tile, { tiling: false }), {
        inside: pixels,
        outside: latents,
      });
    return scope(() => {
      const h = this.encoder.forward(x.to({ dtype: this.dtype }));
      return (this.quant_conv?.forward(h) ?? h).to({ dtype: x.dtype });
    });
  }

  /** x [b, 3, h, w] in [−1, 1] → posterior over [b, c, h/f, w/f]. */
  encode(x: Tensor, options: TilingOptions = {}): Posterior {
    return scope(() => {
      const [mean, logvar] = this.moments(x, options).chunk(2, 1) as [Tensor, Tensor];
      return { mean, logvar: logvar.clamp(-30, 20) };
    });
  }

  /** z [b, c, h/f, w/f], unscaled → pixels [b, 3, h, w], about [−1, 1]. */
  decode(z: Tensor, { tiling = this.tiling }: TilingOptions = {}): Tensor {
    const { pixels, latents } = this.tile;
    if (tiling && isBeyond(z, latents))
      return byTiles(z, (tile) => this.decode(tile, { tiling: false }), { inside: latents, outside: pixels });
    return scope(() => {
      const typed = z.to({ dtype: this.dtype });
      return this.decoder.forward(this.post_quant_conv?.forward(typed) ?? typed).to({ dtype: z.dtype });
    });
  }

  /** Scaled latents of images, from a posterior sample. noise [b, c, h/f, w/f]. */
  toLatents(x: Tensor, noise: Tensor | Generator): Tensor {
    return scope(() => this.scale(samplePosterior(this.encode(x), noise)));
  }

  /** Latents of the encoder → latents as the denoiser sees them: less shift and mean, × scaling factor / std. z [b, c, h, w] */
  scale(z: Tensor): Tensor {
    return scope(() => {
      const { shift_factor: shift } = this.#config;
      const channels = this.#channels(z);
      const centred = channels ? z.sub(channels.mean).div(channels.std) : z;
      return (shift ? centred.sub(shift) : centred).mul(this.scalingFactor);
    });
  }

  /** The inverse of `scale`. */
  unscale(latents: Tensor): Tensor {
    return scope(() => {
      const { shift_factor: shift } = this.#config;
      const channels = this.#channels(latents);
      const z = channels ? latents.mul(channels.std) : latents;
      const scaled = z.div(this.scalingFactor);
      const centred = channels ? scaled.add(channels.mean) : scaled;
      return shift ? centred.add(shift) : centred;
    });
  }

  /** `latents_mean` and `latents_std` as [c, 1, 1], where the config has them. */
  #channels({ device, dtype }: Tensor): { mean: Tensor; std: Tensor } | undefined {
    const { latents_mean: mean, latents_std: std } = this.#config;
    if (!mean || !std) return undefined;
    const shaped = (row: number[]): Tensor => tensor(row, { device, dtype, shape: [row.length, 1, 1] });
    return { mean: shaped(mean), std: shaped(std) };
  }

  /**
   * Pixels of scaled latents, decoded `chunk` at a time, with `slicing` one: on a CPU a small chunk stays in the cache.
   */
  decodeLatents(
    latents: Tensor,
    { chunk = this.slicing ? 1 : 8, tiling }: { chunk?: number } & TilingOptions = {},
  ): Tensor {
    return scope(() => {
      // Channels last: without its blocked copies a convolution of few channels is a quarter faster.
      const z = this.unscale(latents).contiguous({ memoryFormat: "channels_last" });
      const parts = z.split(chunk).map((part) => this.decode(part, { tiling }));
      return parts.length === 1 ? (parts[0] as Tensor) : parts.length === 0 ? latents : cat(parts);
    });
  }
}

/** Whether a side is longer than a tile's. */
const isBeyond = ({ shape }: Tensor, side: number): boolean =>
  (shape[2] as number) > side || (shape[3] as number) > side;
