import { arange, Conv2d, cat, Module, parameter, scope, type Tensor, UserError } from "@spo/torch";
import type { Tap } from "./tap.js";

/** Sizes of a {@link PatchEmbed}. */
export interface PatchEmbedOptions {
  patch: number;
  channels: number;
  width: number;
  /** Side of the table of positions, in patches. */
  maxSize: number;
  /** Side in patches of the latents that the model was made for; new tables are scaled to it. */
  baseSize: number;
}

/**
 * Patches of latents as tokens, row by row, each with the embedding of its place.
 *
 * x [b, channels, h, w] → [b, (h/patch)·(w/patch), width]. Places are counted from the centre of a table that comes with the weights.
 * Source: diffusers PatchEmbed with `pos_embed_max_size`; Esser et al. 2024, section 5.3.2.
 */
export class PatchEmbed extends Module {
  readonly proj: Conv2d;
  /** [1, maxSize², width]. Not learnt. */
  readonly pos_embed: Tensor;
  readonly #options: PatchEmbedOptions;

  constructor(options: PatchEmbedOptions) {
    super();
    const { channels, width, patch, maxSize } = options;
    this.proj = new Conv2d(channels, width, patch, { stride: patch });
    this.pos_embed = parameter([1, maxSize ** 2, width]);
    this.#options = options;
  }

  /** Sinusoids of column and row. Source: diffusers `get_2d_sincos_pos_embed`. */
  override reset(): void {
    const { width, maxSize, baseSize } = this.#options;
    scope(() => {
      const half = Math.floor(width / 4);
      const frequencies = arange(0, half, 1, { dtype: "float64" })
        .mul(-Math.log(10000) / half)
        .exp();
      const places = arange(0, maxSize, 1, { dtype: "float64" }).mul(baseSize / maxSize);
      const angles = places.unsqueeze(1).mul(frequencies.unsqueeze(0));
      const axis = cat([angles.sin(), angles.cos()], 1); // [maxSize, width / 2]
      const grid = [maxSize, maxSize, 2 * half];
      const table = cat([axis.unsqueeze(0).expand(grid), axis.unsqueeze(1).expand(grid)], -1);
      this.pos_embed.copy_(table.reshape([...this.pos_embed.shape]));
    });
  }

  forward(x: Tensor, tap?: Tap): Tensor {
    return scope(() => {
      const patches = this.proj.forward(x);
      tap?.("patch_embed", patches);
      const [, , height, width] = patches.shape as [number, number, number, number];
      return patches.flatten(2).transpose(1, 2).add(this.positions(height, width));
    });
  }

  /** The table's centre for so many patches, [1, height·width, width of a token]. Throws a UserError (`USAGE`) where it is too small. */
  positions(height: number, width: number): Tensor {
    const { maxSize } = this.#options;
    if (height > maxSize || width > maxSize) {
      throw new UserError(
        `Latents of ${height} × ${width} patches are too large: the model knows ${maxSize} × ${maxSize} places.`,
        { code: "USAGE", hint: "Draw a smaller image." },
      );
    }
    return scope(() =>
      this.pos_embed
        .detach()
        .reshape([maxSize, maxSize, -1])
        .narrow(0, Math.floor((maxSize - height) / 2), height)
        .narrow(1, Math.floor((maxSize - width) / 2), width)
        .flatten(0, 1)
        .unsqueeze(0),
    );
  }
}
