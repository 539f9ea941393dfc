import { checkpoint, type Linear, Module, scope, silu, type Tensor } from "@spo/torch";
import { projectContext } from "./attention.js";
import type { FlowConditions } from "./flow-conditions.js";
import { type JointTransformerBlock, runJointBlocks } from "./joint-transformer-block.js";
import { plainly } from "./layer-call.js";
import type { PatchEmbed } from "./patch-embed.js";
import { inPatches } from "./patches.js";
import { repeatRows } from "./repeat-rows.js";
import { type SD3Transformer2DConfig, SD3Transformer2DModel } from "./sd3-transformer-2d.js";
import type { TimeTextEmbedding } from "./time-text-embedding.js";

/** What the first blocks of a transformer make of a sample and its text. */
export interface BlockStates {
  /** Embedding of time and pooled text, [b, width]. */
  temb: Tensor;
  /** Tokens of the image after each of the blocks that were asked for, [b, n, width]. */
  image: Tensor[];
  /** Tokens of the text after the same or other blocks, [b, m, width]. */
  context: Tensor[];
}

/**
 * The first blocks of Stable Diffusion 3's transformer, as features of noisy latents: no way out, and nothing predicted.
 *
 * The fields are the transformer's own, so that its LoRAs lie over them by the same names.
 * Source: Liu et al. 2026, "Beyond VLM-based rewards: diffusion-native latent reward modeling", and its code.
 */
export class SD3Backbone extends Module {
  readonly pos_embed: PatchEmbed;
  readonly time_text_embed: TimeTextEmbedding;
  readonly context_embedder: Linear;
  readonly transformer_blocks: JointTransformerBlock[];
  readonly #config: SD3Transformer2DModel["config"];
  gradientCheckpointing = false;

  /** layers: how many blocks, fewer than the transformer of this config has: its last one leaves no text. Throws a RangeError. */
  constructor(config: SD3Transformer2DConfig, layers: number) {
    super();
    const whole = new SD3Transformer2DModel(config);
    if (!(layers > 0 && layers < whole.transformer_blocks.length))
      throw new RangeError(`layers is ${layers}, must be in (0, ${whole.transformer_blocks.length})`);
    this.#config = whole.config;
    this.pos_embed = whole.pos_embed;
    this.time_text_embed = whole.time_text_embed;
    this.context_embedder = whole.context_embedder;
    this.transformer_blocks = whole.transformer_blocks.slice(0, layers);
  }

  /** Of the whole transformer. */
  get config(): SD3Transformer2DModel["config"] {
    return this.#config;
  }

  /**
   * sample [b, c, h, w], timesteps (a number or [b], 1000·σ), conditions of b rows. after: the numbers of blocks whose tokens are given, in
   * rising order; 0: the tokens before the first block.
   */
  forward(
    sample: Tensor,
    timesteps: Tensor | number,
    { context, pooled }: FlowConditions,
    after: { image: readonly number[]; context: readonly number[] },
  ): BlockStates {
    return scope(() => {
      inPatches(sample.shape.slice(2) as [number, number], this.#config.patch_size);
      const temb = this.time_text_embed.forward(timesteps, pooled.to({ dtype: sample.dtype }));
      const told = silu(temb);
      let tokens = {
        image: repeatRows(this.pos_embed.forward(sample), pooled.shape[0] as number),
        context: projectContext(context, this.context_embedder),
      };
      const found: BlockStates = { temb, image: [], context: [] };
      const call = this.gradientCheckpointing ? checkpoint : plainly;
      for (let done = 0; ; done++) {
        if (after.image.includes(done)) found.image.push(sameTensor(tokens.image));
        if (after.context.includes(done)) found.context.push(sameTensor(tokens.context));
        if (done === this.transformer_blocks.length) return found;
        tokens = runJointBlocks(this.transformer_blocks.slice(done, done + 1), tokens, told, { call });
      }
    });
  }
}

/** Another handle on a tensor, with its graph: the blocks free what they are given. */
const sameTensor = (x: Tensor): Tensor => x.narrow(0, 0, x.shape[0] as number);
