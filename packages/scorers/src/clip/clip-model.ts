import { CLIPEncoderLayer, CLIPTextTransformer, endOfText, type PlaceOptions } from "@spo/diffusion";
import { keep, LayerNorm, Linear, loadWeights, Module, parameter, scope, type Tensor } from "@spo/torch";
import type { ClipConfig } from "./clip-config.js";
import { readClipFiles } from "./clip-files.js";
import { CLIPVisionEmbeddings, type VisionConfig } from "./clip-vision-embeddings.js";
import type { ScoreProcessor } from "./preprocess.js";
import { unit } from "./unit.js";

class CLIPEncoder extends Module {
  readonly layers: readonly CLIPEncoderLayer[];

  constructor(config: VisionConfig) {
    super();
    const { hidden_size, num_attention_heads, intermediate_size, hidden_act, layer_norm_eps } = config;
    this.layers = Array.from(
      { length: config.num_hidden_layers },
      () =>
        new CLIPEncoderLayer(hidden_size, num_attention_heads, intermediate_size, {
          activation: hidden_act,
          eps: layer_norm_eps,
        }),
    );
  }
}

/** pixels [n, c, size, size] → the class token after the last norm [n, width]. Source: transformers CLIPVisionTransformer. */
class CLIPVisionTransformer extends Module {
  readonly embeddings: CLIPVisionEmbeddings;
  readonly pre_layrnorm: LayerNorm; // the spelling is the checkpoint's
  readonly encoder: CLIPEncoder;
  readonly post_layernorm: LayerNorm;

  constructor(config: VisionConfig) {
    super();
    this.embeddings = new CLIPVisionEmbeddings(config);
    this.pre_layrnorm = new LayerNorm(config.hidden_size, { eps: config.layer_norm_eps });
    this.encoder = new CLIPEncoder(config);
    this.post_layernorm = new LayerNorm(config.hidden_size, { eps: config.layer_norm_eps });
  }

  forward(pixels: Tensor): Tensor {
    return scope(() => {
      let h = this.pre_layrnorm.forward(this.embeddings.forward(pixels));
      for (const layer of this.encoder.layers) h = scope(() => layer.forward(h));
      return this.post_layernorm.forward(h.select(1, 0));
    });
  }
}

/** CLIP with both towers, under the names of transformers' CLIPModel. Source: Radford et al. 2021. */
export class CLIPModel extends Module {
  readonly logit_scale: Tensor;
  readonly text_model: CLIPTextTransformer;
  readonly vision_model: CLIPVisionTransformer;
  readonly visual_projection: Linear;
  readonly text_projection: Linear;
  readonly #config: ClipConfig;

  constructor(config: ClipConfig) {
    super();
    this.#config = config;
    this.logit_scale = parameter([]);
    this.text_model = new CLIPTextTransformer(config.text_config);
    this.vision_model = new CLIPVisionTransformer(config.vision_config);
    this.visual_projection = new Linear(config.vision_config.hidden_size, config.projection_dim, {
      bias: false,
    });
    this.text_projection = new Linear(config.text_config.hidden_size, config.projection_dim, { bias: false });
  }

  get config(): ClipConfig {
    return this.#config;
  }

  /** pixels [n, c, size, size], normalised → [n, projection], of length 1. */
  imageFeatures(pixels: Tensor): Tensor {
    return scope(() => unit(this.visual_projection.forward(this.vision_model.forward(pixels))));
  }

  /** ids int64 [n, L] → [n, projection], of length 1. What stands behind a row's first end token cannot matter. */
  textFeatures(ids: Tensor): Tensor {
    return scope(() => {
      const used = endOfText(ids, this.#config.text_config.eos_token_id).max().item() + 1;
      return unit(this.text_projection.forward(this.text_model.forward(ids.narrow(1, 0, used)).pooled));
    });
  }
}

/** Loads a CLIP in any of the published layouts. Throws as `readClipFiles`, and with all names that do not fit. */
export function loadClip(
  path: string,
  { dtype = "float32", device }: PlaceOptions = {},
): { model: CLIPModel; processor: ScoreProcessor } {
  return scope(() => {
    const { config, processor, weights, source } = readClipFiles(path);
    const model = new CLIPModel(config);
    loadWeights(model, weights, { source, dtype, device, consume: true });
    keep(model.parameters());
    return { model, processor };
  });
}
