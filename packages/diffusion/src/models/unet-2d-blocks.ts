import { cat, Module, scope, type Tensor } from "@spo/torch";
import { type Context, Transformer2DModel } from "./attention.js";
import { type LayerCall, plainly } from "./layer-call.js";
import { repeatRows } from "./repeat-rows.js";
import { Downsample2D, ResnetBlock2D, Upsample2D } from "./resnet.js";
import type { Tap } from "./tap.js";

/** What one level of the UNet is made of. `transformer` absent: no attention at this level. */
export interface LevelOptions {
  layers: number;
  timeDim: number;
  groups: number;
  eps: number;
  transformer?: LevelTransformer;
}

interface LevelTransformer {
  heads: number;
  /** Transformer blocks behind each residual block, in order. */
  depths: readonly number[];
  contextDim: number;
  linear: boolean;
}

export interface BlockInputs {
  /** After its SiLU, [1 or b, timeDim] */
  temb: Tensor;
  context: Context;
  /** How residual and transformer blocks are called. */
  call?: LayerCall;
}

/** Residual blocks (with attention), then a down-sampling. Source: diffusers DownBlock2D, CrossAttnDownBlock2D. */
export class DownBlock2D extends Module {
  readonly attentions: Transformer2DModel[];
  readonly resnets: ResnetBlock2D[];
  readonly downsamplers: Downsample2D[];

  constructor(inChannels: number, outChannels: number, options: LevelOptions & { down: boolean }) {
    super();
    const { layers, transformer } = options;
    this.resnets = Array.from(
      { length: layers },
      (_, i) => new ResnetBlock2D(i === 0 ? inChannels : outChannels, outChannels, options),
    );
    this.attentions = transformer ? attentions(outChannels, layers, options.groups, transformer) : [];
    this.downsamplers = options.down ? [new Downsample2D(outChannels, 1)] : [];
  }

  /** x [b, in, h, w] → [b, out, h', w'] and one skip tensor for each layer. */
  forward(
    x: Tensor,
    { temb, context, call = plainly }: BlockInputs,
    tap?: Tap,
  ): { x: Tensor; skips: Tensor[] } {
    return scope(() => {
      const skips: Tensor[] = [];
      let h = x;
      for (const [i, resnet] of this.resnets.entries()) {
        h = call((x, t) => resnet.forward(x, t), [h, temb]);
        tap?.(`resnets.${i}`, h);
        const attention = this.attentions[i];
        if (attention) {
          h = attention.forward(h, context, call);
          tap?.(`attentions.${i}`, h);
        }
        skips.push(h);
      }
      for (const downsampler of this.downsamplers) {
        h = downsampler.forward(h);
        skips.push(h);
      }
      return { x: h, skips };
    });
  }
}

/**
 * Residual block, attention, residual block. Source: diffusers UNetMidBlock2DCrossAttn.
 *
 * Without `transformer` the first residual block alone, as diffusers builds its UNetMidBlock2D for a UNet.
 */
export class MidBlock2D extends Module {
  readonly attentions: Transformer2DModel[];
  readonly resnets: ResnetBlock2D[];

  constructor(channels: number, options: LevelOptions) {
    super();
    const { transformer } = options;
    this.attentions = transformer ? attentions(channels, 1, options.groups, transformer) : [];
    this.resnets = [channels, ...this.attentions.map(() => channels)].map(
      () => new ResnetBlock2D(channels, channels, options),
    );
  }

  forward(x: Tensor, { temb, context, call = plainly }: BlockInputs): Tensor {
    return scope(() => {
      const [first, ...rest] = this.resnets as [ResnetBlock2D, ...ResnetBlock2D[]];
      let h = call((y, t) => first.forward(y, t), [x, temb]);
      for (const [i, resnet] of rest.entries()) {
        h = (this.attentions[i] as Transformer2DModel).forward(h, context, call);
        h = call((y, t) => resnet.forward(y, t), [h, temb]);
      }
      return h;
    });
  }
}

/** Residual blocks over the input and a skip tensor each, then an up-sampling. Source: diffusers UpBlock2D, CrossAttnUpBlock2D. */
export class UpBlock2D extends Module {
  readonly attentions: Transformer2DModel[];
  readonly resnets: ResnetBlock2D[];
  readonly upsamplers: Upsample2D[];

  /** skipChannels: of the skip tensor that each layer takes, in order. */
  constructor(
    inChannels: number,
    outChannels: number,
    skipChannels: readonly number[],
    options: LevelOptions & { up: boolean },
  ) {
    super();
    const { transformer } = options;
    this.resnets = skipChannels.map(
      (skip, i) => new ResnetBlock2D((i === 0 ? inChannels : outChannels) + skip, outChannels, options),
    );
    this.attentions = transformer
      ? attentions(outChannels, skipChannels.length, options.groups, transformer)
      : [];
    this.upsamplers = options.up ? [new Upsample2D(outChannels)] : [];
  }

  /** skips: last in, first out; each layer pops one. The up-sampling goes to the size of the skip tensor that comes next. */
  forward(x: Tensor, skips: Tensor[], { temb, context, call = plainly }: BlockInputs): Tensor {
    return scope(() => {
      let h = x;
      for (const [i, resnet] of this.resnets.entries()) {
        // The skip tensor is kept anyway. Joined with it here, inside the call, no copy of both is kept.
        const joined = (y: Tensor, skip: Tensor, t: Tensor): Tensor =>
          scope(() => resnet.forward(cat([y, repeatRows(skip, y.shape[0] as number)], 1), t));
        h = call(joined, [h, skips.pop() as Tensor, temb]);
        h = this.attentions[i]?.forward(h, context, call) ?? h;
      }
      const next = skips.at(-1);
      for (const upsampler of this.upsamplers) {
        h = upsampler.forward(h, next ? (next.shape.slice(2) as [number, number]) : undefined);
      }
      return h;
    });
  }
}

const attentions = (
  channels: number,
  count: number,
  groups: number,
  { heads, depths, contextDim, linear }: LevelTransformer,
): Transformer2DModel[] =>
  Array.from(
    { length: count },
    (_, i) =>
      new Transformer2DModel(channels, heads, { layers: depths[i] as number, contextDim, groups, linear }),
  );
