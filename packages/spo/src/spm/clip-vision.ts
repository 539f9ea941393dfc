import { CLIPAttention, CLIPMLP, plainly, type Tap } from "@spo/diffusion";
import { CLIPVisionEmbeddings, type VisionConfig } from "@spo/scorers";
import {
  arange,
  cat,
  checkpoint,
  LayerNorm,
  Linear,
  Module,
  scope,
  silu,
  type Tensor,
  tensor,
} from "@spo/torch";

/** The timestep as cosines and sines. t: one for all or int64 [n] → float32 [1 or n, size], cosines first. Source: algorithm 3. */
export function timestepSinusoid(
  t: number | Tensor,
  {
    size = 256,
    maxPeriod = 10000,
    device = "cpu",
  }: { size?: number; maxPeriod?: number; device?: string } = {},
): Tensor {
  return scope(() => {
    const half = size / 2;
    // In float32 and in the reference's order: an angle of 999 rad keeps the rounding of its frequency.
    const omega = arange(0, half, 1, { dtype: "float32", device }).mul(-Math.log(maxPeriod)).div(half).exp();
    // From the integer t, never from a rounded one: bfloat16 would lose odd values above 256.
    const steps = typeof t === "number" ? tensor([t], { device }) : t.to({ dtype: "float32", device });
    const angle = steps.unsqueeze(1).mul(omega);
    return cat([angle.cos(), angle.sin()], 1);
  });
}

/** Sinusoid → Linear → SiLU → Linear. t: one for all or int64 [n] → τ [1 or n, width]. */
export class TimestepEmbedder extends Module {
  readonly mlp: readonly [Linear, typeof silu, Linear];
  readonly #maxPeriod: number;

  constructor(width: number, { frequencies = 256, maxPeriod = 10000 } = {}) {
    super();
    this.mlp = [new Linear(frequencies, width), silu, new Linear(width, width)];
    this.#maxPeriod = maxPeriod;
  }

  forward(t: number | Tensor): Tensor {
    return scope(() => {
      const [first, activation, second] = this.mlp;
      const { shape, dtype, device } = first.weight;
      const s = timestepSinusoid(t, { size: shape[1] as number, maxPeriod: this.#maxPeriod, device });
      return second.forward(activation(first.forward(s.to({ dtype }))));
    });
  }
}

/**
 * A pre-norm layer whose norms and residuals are shifted, scaled and gated by the timestep (adaLN).
 *
 * h [n, tokens, width], c = SiLU(τ) [1 or n, width] → [n, tokens, width], or [n, 1, width] with `classOnly`. Source: algorithm 3.
 */
export class StepAwareEncoderLayer extends Module {
  readonly self_attn: CLIPAttention;
  readonly layer_norm1: LayerNorm;
  readonly mlp: CLIPMLP;
  readonly layer_norm2: LayerNorm;
  readonly adaLN_modulation: readonly [typeof silu, Linear];

  constructor({
    hidden_size,
    intermediate_size,
    num_attention_heads,
    hidden_act,
    layer_norm_eps,
  }: VisionConfig) {
    super();
    this.self_attn = new CLIPAttention(hidden_size, num_attention_heads);
    this.layer_norm1 = new LayerNorm(hidden_size, { eps: layer_norm_eps });
    this.mlp = new CLIPMLP(hidden_size, intermediate_size, hidden_act);
    this.layer_norm2 = new LayerNorm(hidden_size, { eps: layer_norm_eps });
    this.adaLN_modulation = [silu, new Linear(hidden_size, 6 * hidden_size)];
  }

  /** `classOnly`: only the class token's output is computed, which is all that the last layer is read for. */
  forward(h: Tensor, c: Tensor, { classOnly = false } = {}): Tensor {
    return scope(() => {
      const modulation = this.adaLN_modulation[1].forward(c).unsqueeze(1).chunk(6, -1);
      const [shift1, scale1, gate1, shift2, scale2, gate2] = modulation as [
        Tensor,
        Tensor,
        Tensor,
        Tensor,
        Tensor,
        Tensor,
      ];
      const x = modulate(this.layer_norm1.forward(h), shift1, scale1);
      const read = (tokens: Tensor): Tensor => (classOnly ? tokens.narrow(1, 0, 1) : tokens);
      const attended = read(h).addcmul(gate1, this.self_attn.forward(x, { queries: read(x) }));
      return attended.addcmul(
        gate2,
        this.mlp.forward(modulate(this.layer_norm2.forward(attended), shift2, scale2)),
      );
    });
  }
}

/** x·(1 + scale) + shift. */
const modulate = (x: Tensor, shift: Tensor, scale: Tensor): Tensor => shift.addcmul(x, scale.add(1));

class StepAwareEncoder extends Module {
  readonly layers: readonly StepAwareEncoderLayer[];

  constructor(config: VisionConfig) {
    super();
    this.layers = Array.from({ length: config.num_hidden_layers }, () => new StepAwareEncoderLayer(config));
  }
}

/** CLIP's vision transformer with adaLN. pixels [n, c, size, size], τ [1 or n, width] → pooled [n, width]. Source: algorithm 3. */
export class StepAwareVisionTransformer extends Module {
  readonly embeddings: CLIPVisionEmbeddings;
  readonly pre_layrnorm: LayerNorm; // the spelling is the checkpoint's
  readonly encoder: StepAwareEncoder;
  readonly post_layernorm: LayerNorm;
  readonly adaLN_modulation: readonly [typeof silu, Linear];
  #checkpointing = false;

  constructor(config: VisionConfig) {
    super();
    const { hidden_size, layer_norm_eps } = config;
    this.embeddings = new CLIPVisionEmbeddings(config);
    this.pre_layrnorm = new LayerNorm(hidden_size, { eps: layer_norm_eps });
    this.encoder = new StepAwareEncoder(config);
    this.post_layernorm = new LayerNorm(hidden_size, { eps: layer_norm_eps });
    this.adaLN_modulation = [silu, new Linear(hidden_size, 2 * hidden_size)];
  }

  get gradientCheckpointing(): boolean {
    return this.#checkpointing;
  }

  /** Keeps for backward no more than the inputs of each layer, and computes a layer again when backward comes to it. */
  set gradientCheckpointing(on: boolean) {
    this.#checkpointing = on;
  }

  /** With `tap`, the last layer computes every token, not the class token alone. */
  forward(pixels: Tensor, tau: Tensor, tap?: Tap): Tensor {
    return scope(() => {
      const c = silu(tau); // the same in every layer's `adaLN_modulation.0`
      let h = this.pre_layrnorm.forward(this.embeddings.forward(pixels));
      tap?.("pre_layrnorm", h);
      const last = this.encoder.layers.length - 1;
      const call = this.#checkpointing ? checkpoint : plainly;
      for (const [i, layer] of this.encoder.layers.entries()) {
        const classOnly = i === last && !tap;
        h = call((tokens, modulation) => layer.forward(tokens, modulation, { classOnly }), [h, c]);
        tap?.(`layer.${i}`, h);
      }
      const [shift, scale] = this.adaLN_modulation[1].forward(c).chunk(2, -1) as [Tensor, Tensor];
      return modulate(this.post_layernorm.forward(h.select(1, 0)), shift, scale);
    });
  }
}
