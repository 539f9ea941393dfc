import { Conv2d, GroupNorm, Linear, Module, scope, type Tensor, upsampleNearest2d } from "@spo/torch";
import { repeatRows } from "./repeat-rows.js";

/**
 * Norm → SiLU → conv, twice, with the timestep added between; residual.
 *
 * x [b, in, h, w], temb [1 or b, timeDim] → [b, out, h, w]. temb has gone through its SiLU, which is the same in all blocks; of fewer
 * rows than x, it is repeated as a whole. Without `timeDim` (the VAE's blocks) there is no timestep.
 * Source: diffusers ResnetBlock2D, `time_embedding_norm: "default"` only.
 */
export class ResnetBlock2D extends Module {
  readonly norm1: GroupNorm;
  readonly conv1: Conv2d;
  readonly time_emb_proj?: Linear;
  readonly norm2: GroupNorm;
  readonly conv2: Conv2d;
  readonly conv_shortcut?: Conv2d;

  constructor(
    inChannels: number,
    outChannels: number,
    { timeDim, groups, eps }: { timeDim?: number; groups: number; eps: number },
  ) {
    super();
    this.norm1 = new GroupNorm(groups, inChannels, { eps });
    this.conv1 = new Conv2d(inChannels, outChannels, 3, { padding: 1 });
    if (timeDim !== undefined) this.time_emb_proj = new Linear(timeDim, outChannels);
    this.norm2 = new GroupNorm(groups, outChannels, { eps });
    this.conv2 = new Conv2d(outChannels, outChannels, 3, { padding: 1 });
    if (inChannels !== outChannels) this.conv_shortcut = new Conv2d(inChannels, outChannels, 1);
  }

  forward(x: Tensor, temb?: Tensor): Tensor {
    return scope(() => {
      let h = this.conv1.forward(this.norm1.forwardSilu(x));
      if (this.time_emb_proj && temb) {
        const t = this.time_emb_proj.forward(temb).unsqueeze(-1).unsqueeze(-1); // [1 or b, out, 1, 1]
        h = h.add(temb.shape[0] === 1 ? t : repeatRows(t, h.shape[0] as number));
      }
      h = this.conv2.forward(this.norm2.forwardSilu(h));
      return h.add(this.conv_shortcut?.forward(x) ?? x);
    });
  }
}

/** Halves height and width by a strided conv. x [b, c, h, w] → [b, c, ⌈h/2⌉, ⌈w/2⌉]. Source: diffusers Downsample2D. */
export class Downsample2D extends Module {
  readonly conv: Conv2d;
  readonly #padding: number;

  /** padding 0: one row and column of zeros at the bottom and right only (the VAE's way). */
  constructor(channels: number, padding: number) {
    super();
    this.conv = new Conv2d(channels, channels, 3, { stride: 2, padding });
    this.#padding = padding;
  }

  forward(x: Tensor): Tensor {
    if (this.#padding > 0) return this.conv.forward(x);
    return scope(() => this.conv.forward(x.constantPadNd([0, 1, 0, 1])));
  }
}

/** Doubles height and width by repetition, or to `size` where a skip tensor has an odd one; then a conv. Source: diffusers Upsample2D. */
export class Upsample2D extends Module {
  readonly conv: Conv2d;

  constructor(channels: number) {
    super();
    this.conv = new Conv2d(channels, channels, 3, { padding: 1 });
  }

  forward(x: Tensor, size?: readonly [height: number, width: number]): Tensor {
    return scope(() => {
      const [, , height, width] = x.shape as [number, number, number, number];
      const [up, across] = size ?? [height * 2, width * 2];
      const plain = this.conv instanceof Conv2d; // an adapter over it computes more than its weight says
      const exact = up === height * 2 && across === width * 2;
      if (plain && exact && x.device === "cpu") return this.conv.forwardDoubled(x);
      return this.conv.forward(upsampleNearest2d(x, [up, across]));
    });
  }
}
