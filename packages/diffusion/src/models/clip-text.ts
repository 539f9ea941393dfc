import { Embedding, type Generator, LayerNorm, Linear, Module, scope, type Tensor, tensor } from "@spo/torch";
import { z } from "zod";
import { checkConfig, count, MOST, only } from "../config.js";
import { CLIPEncoderLayer, headsDivide } from "./clip-layers.js";

/** config.json of transformers' CLIPTextModel. */
export const CLIPTextConfig = z
  .looseObject({
    vocab_size: count(2 ** 24).default(49408),
    hidden_size: count(MOST.width),
    intermediate_size: count(MOST.width),
    num_hidden_layers: count(MOST.layers),
    num_attention_heads: count(MOST.heads),
    max_position_embeddings: z.int().min(2).max(MOST.width).default(77),
    hidden_act: z.enum(["gelu", "quick_gelu"]).default("quick_gelu"),
    layer_norm_eps: z.number().positive().max(1).default(1e-5),
    projection_dim: count(MOST.width).default(512),
    eos_token_id: z.int().min(0).default(2),
    /** Of another family: CLIP attends to padding too. */
    use_attention_mask: only(false),
  })
  .check(headsDivide);
export type CLIPTextConfig = z.input<typeof CLIPTextConfig>;
type Sizes = z.output<typeof CLIPTextConfig>;

class CLIPTextEmbeddings extends Module {
  readonly token_embedding: Embedding;
  readonly position_embedding: Embedding;

  constructor(config: Sizes) {
    super();
    this.token_embedding = new Embedding(config.vocab_size, config.hidden_size);
    this.position_embedding = new Embedding(config.max_position_embeddings, config.hidden_size);
  }

  forward(ids: Tensor): Tensor {
    return scope(() => {
      const length = ids.shape[1] as number;
      return this.token_embedding.forward(ids).add(this.position_embedding.weight.narrow(0, 0, length));
    });
  }
}

class CLIPEncoder extends Module {
  readonly layers: CLIPEncoderLayer[];

  constructor(config: Sizes) {
    super();
    this.layers = Array.from(
      { length: config.num_hidden_layers },
      () =>
        new CLIPEncoderLayer(config.hidden_size, config.num_attention_heads, config.intermediate_size, {
          activation: config.hidden_act,
          eps: config.layer_norm_eps,
        }),
    );
  }
}

/**
 * Column of each row's first end token: the largest id where `eos` is the historical 2, otherwise the first `eos`. ids [b, L] → int64 [b].
 */
export const endOfText = (ids: Tensor, eos: number): Tensor =>
  scope(() => (eos === 2 ? ids.argmax(-1) : ids.eq(eos).to({ dtype: "int64" }).argmax(-1)));

/** What a CLIP text tower gives, batch b, length L, width d. */
export interface ClipTextOutput {
  /** After the final norm [b, L, d]: SD1.5's context. */
  lastHiddenState: Tensor;
  /** 0: embeddings; i: after layer i, before the final norm. `hiddenStates.at(-2)` is SDXL's context. */
  hiddenStates: Tensor[];
  /** The last hidden state at the first end token [b, d]. */
  pooled: Tensor;
}

/**
 * CLIP's text tower with causal attention: token ids (int64 [b, L], L ≤ max_position_embeddings) → hidden states.
 *
 * Source: transformers CLIPTextModel; Radford et al. 2021, section 2.4. The pooled state is at the first end token: the largest id where
 * the config has the historical `eos_token_id: 2`, the first `eos_token_id` else.
 */
export class CLIPTextTransformer extends Module {
  readonly embeddings: CLIPTextEmbeddings;
  readonly encoder: CLIPEncoder;
  readonly final_layer_norm: LayerNorm;
  readonly #eos: number;

  constructor(config: CLIPTextConfig) {
    super();
    const sizes = checkConfig(CLIPTextConfig, config, "CLIP text model: config.json");
    this.embeddings = new CLIPTextEmbeddings(sizes);
    this.encoder = new CLIPEncoder(sizes);
    this.final_layer_norm = new LayerNorm(sizes.hidden_size, { eps: sizes.layer_norm_eps });
    this.#eos = sizes.eos_token_id;
  }

  forward(tokens: Tensor): ClipTextOutput {
    return scope(() => {
      const ids = tokens.to({ device: this.final_layer_norm.weight.device }); // a tokenizer's are on the CPU
      const hiddenStates = [this.embeddings.forward(ids)];
      for (const layer of this.encoder.layers)
        hiddenStates.push(layer.forward(hiddenStates.at(-1) as Tensor, { causal: true }));
      const lastHiddenState = this.final_layer_norm.forward(hiddenStates.at(-1) as Tensor);
      const places = endOfText(ids, this.#eos); // [b]
      const width = lastHiddenState.shape[2] as number;
      const pooled = lastHiddenState.gather(1, places.reshape([-1, 1, 1]).expand([-1, 1, width])).squeeze(1);
      return { lastHiddenState, hiddenStates, pooled };
    });
  }
}

/** The text encoder of Stable Diffusion, under the checkpoints' `text_model.` prefix. */
export class CLIPTextModel extends Module {
  readonly text_model: CLIPTextTransformer;
  readonly #config: CLIPTextConfig;

  /** Throws a UserError for a config value that is not supported. */
  constructor(config: CLIPTextConfig) {
    super();
    this.text_model = new CLIPTextTransformer(config);
    this.#config = config;
  }

  get config(): CLIPTextConfig {
    return this.#config;
  }

  /** transformers' word for its kind. */
  get modelType(): string {
    return "clip_text_model";
  }

  forward(ids: Tensor): ClipTextOutput {
    return this.text_model.forward(ids);
  }
}

/** SDXL's second text encoder: also projects the pooled state. Source: transformers CLIPTextModelWithProjection. */
export class CLIPTextModelWithProjection extends CLIPTextModel {
  readonly text_projection: Linear;

  constructor(config: CLIPTextConfig) {
    super(config);
    const sizes = CLIPTextConfig.parse(config);
    this.text_projection = new Linear(sizes.hidden_size, sizes.projection_dim, { bias: false });
  }

  /** Width of `pooled`. */
  get projectionDim(): number {
    return this.text_projection.weight.shape[0] as number;
  }

  /** `pooled` is the projected one [b, projection_dim]. */
  override forward(ids: Tensor): ClipTextOutput {
    return scope(() => {
      const output = this.text_model.forward(ids);
      return { ...output, pooled: this.text_projection.forward(output.pooled) };
    });
  }
}

/** Sets CLIP's initial values where they differ from the layers' own: embeddings N(0, 0.02²). */
export function initializeClipEmbeddings(module: Module, generator: Generator): void {
  for (const part of module.modules().values()) {
    if (part instanceof Embedding) part.weight.normal_(0, 0.02, { generator });
  }
}

/** Token ids as int64 [b, L]. */
export const idsTensor = (rows: readonly (readonly number[])[]): Tensor =>
  tensor(
    rows.map((row) => [...row]),
    { dtype: "int64" },
  );
