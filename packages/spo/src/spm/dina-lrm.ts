import { checkConfig, count, type FlowConditions, MOST, type SD3Backbone } from "@spo/diffusion";
import { Module, scope, type Tensor } from "@spo/torch";
import { z } from "zod";
import { RewardHead } from "./reward-head.js";

/** Numbers of blocks in rising order. */
const taps = z
  .array(z.int().min(0).max(MOST.layers))
  .min(1)
  .refine((places) => places.every((place, i) => i === 0 || place > (places[i - 1] as number)), {
    error: "must rise from number to number",
  });

/** config.json of a DiNa-LRM: what of its training's settings makes the model. */
export const DinaLrmConfig = z.looseObject({
  model: z
    .looseObject({
      num_transformer_layers: count(MOST.layers),
      use_lora: z.literal(true),
      use_logistic: z.literal(false).default(false),
      visual_head_idx: taps,
      text_head_idx: taps,
      reward_head: z
        .looseObject({
          use_proj_in: z.boolean().default(false),
          width: z.union([z.literal(-1), count(MOST.width).min(4)]).default(-1),
          out_dim: z.literal(1).default(1),
          num_queries: count(MOST.width).default(4),
          num_attn_heads: count(MOST.heads).default(8),
        })
        .prefault({}),
    })
    .refine(
      ({ num_transformer_layers: layers, visual_head_idx, text_head_idx }) =>
        Math.max(...visual_head_idx, ...text_head_idx) <= layers,
      { error: "visual_head_idx or text_head_idx names a block beyond num_transformer_layers" },
    ),
});
export type DinaLrmConfig = z.input<typeof DinaLrmConfig>;

/**
 * Diffusion-native latent reward model: the first blocks of Stable Diffusion 3.5's transformer, with an adapter, and a head that scores
 * what some of them leave. It takes noisy latents at every σ; nothing is predicted or decoded.
 *
 * Source: Liu et al. 2026, "Beyond VLM-based rewards: diffusion-native latent reward modeling", and its code.
 */
export class DinaLrm extends Module {
  readonly backbone: SD3Backbone;
  readonly reward_head: RewardHead;
  readonly #config: z.output<typeof DinaLrmConfig>;

  /** Throws a UserError for a config value that is not supported. */
  constructor(config: DinaLrmConfig, backbone: SD3Backbone) {
    super();
    this.#config = checkConfig(DinaLrmConfig, config, "DinaLrm: config.json");
    const { visual_head_idx, text_head_idx, reward_head: head } = this.#config.model;
    this.backbone = backbone;
    this.reward_head = new RewardHead({
      tokenWidth: backbone.config.num_attention_heads * backbone.config.attention_head_dim,
      width: head.width === -1 ? undefined : head.width,
      imageTaps: visual_head_idx.length,
      contextTaps: text_head_idx.length,
      queries: head.num_queries,
      heads: head.num_attn_heads,
      projectsIn: head.use_proj_in,
    });
  }

  get config(): z.output<typeof DinaLrmConfig> {
    return this.#config;
  }

  /** Scores [b], unbounded, higher is better. latents [b, c, h, w], scaled; timesteps: one for all or [b], 1000·σ; texts of b rows. */
  forward(latents: Tensor, timesteps: number | Tensor, texts: FlowConditions): Tensor {
    return scope(() => {
      const { visual_head_idx: image, text_head_idx: context } = this.#config.model;
      return this.reward_head.forward(this.backbone.forward(latents, timesteps, texts, { image, context }));
    });
  }
}
