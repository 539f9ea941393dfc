import type { Device, DType, Module, Tensor } from "@spo/torch";
import type { Context } from "./attention.js";
import type { Tap } from "./tap.js";

/**
 * What a denoiser is told of each row, by name: states of tokens [n, L, d], which rows may share, or one vector [n, d].
 *
 * Which names there are is the model's affair: `conditionShapes` says it.
 */
export type DenoiserInputs = Readonly<Record<string, Context | undefined>>;

/** What a denoiser is asked with besides. */
export interface ForwardOptions {
  /** What a model that `embedsGuidance` is told in place of being guided; others take no notice. */
  guidanceScale?: number;
  /** Sees intermediate values. */
  tap?: Tap;
}

/**
 * The model of a family that is asked at each step: noisy latents, a time and conditions give its prediction (noise, v, x̂0 or velocity, as
 * the scheduler's config says).
 *
 * Which it is, a UNet or a transformer, only its family knows. Adapters may lie over its layers.
 */
export interface DenoiserModel extends Module {
  /** config.json of its folder. */
  readonly config: object;
  /** Where its weights are, and of what type. */
  readonly device: Device;
  readonly dtype: DType;
  /** Channels of a latent. */
  readonly latentChannels: number;
  /** Height and width of the latents that it was made for. */
  readonly sampleSize: readonly [height: number, width: number];
  /** What heights and widths of its latents are multiples of: the side of its patches. */
  readonly latentMultiple: number;
  /** Whether it is told the guidance scale and was distilled to need no second side. */
  readonly embedsGuidance: boolean;
  /** Whether guidance means anything to it: a model distilled to a few steps has none of either kind. */
  readonly takesGuidance: boolean;
  /** Keeps less for backward and computes blocks again when it comes to them. */
  gradientCheckpointing: boolean;
  /** Shape [c, h, w] of one latent; size: in latent pixels. Throws a UserError (`USAGE`) where the model's patches do not divide it. */
  latentShape(
    size: readonly [height: number, width: number],
  ): [channels: number, height: number, width: number];
  /** Shape of one row of each condition, for texts of `tokens` tokens. */
  conditionShapes(tokens: number): Readonly<Record<string, readonly number[]>>;
  /** A model of the same config without values. */
  blank(): DenoiserModel;
  /**
   * xt [b, c, h, w], timesteps in [0, 1000] (one for all, or [b]), conditions of b rows or a multiple of them → the prediction, one for
   * each row of the conditions: a batch of 2b rows is [xt; xt].
   */
  forward(
    xt: Tensor,
    timesteps: Tensor | number,
    conditions: DenoiserInputs,
    options?: ForwardOptions,
  ): Tensor;
}
