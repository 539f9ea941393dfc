import { Module, scope, type Tensor } from "@spo/torch";
import { AdaLayerNorm, modulate } from "./ada-layer-norm.js";
import { Attention } from "./attention.js";
import { FeedForward } from "./feed-forward.js";
import { JointAttention } from "./joint-attention.js";
import type { LayerCall } from "./layer-call.js";
import type { Rotation } from "./rotary-embedding.js";
import type { Tap } from "./tap.js";

/** What a block of a multimodal transformer is made of. */
export interface JointBlockOptions {
  heads: number;
  headDim: number;
  /** RMS norms of each head's queries and keys. */
  qkNorm: boolean;
  /** A second attention, of the image to itself (SD3.5-Medium). */
  dual?: boolean;
  /** SD3's last block reads the text and leaves it. */
  readsContextOnly?: boolean;
}

/** Tokens of image and text. */
export interface JointTokens {
  /** [b, n, width] */
  image: Tensor;
  /** [b, m, width] */
  context: Tensor;
}

/**
 * Joint attention and feed-forward of image and text, each with norms of its own that time and pooled text shift, scale and gate.
 *
 * image [b, n, width], context [b, m, width], temb [b, width] after its SiLU → both; the context as it was where it is only read.
 * Source: Esser et al. 2024, figure 2; diffusers JointTransformerBlock, FluxTransformerBlock.
 */
export class JointTransformerBlock extends Module {
  readonly norm1: AdaLayerNorm;
  readonly norm1_context: AdaLayerNorm;
  readonly attn: JointAttention;
  readonly attn2?: Attention;
  readonly ff: FeedForward;
  readonly ff_context?: FeedForward;

  constructor({ heads, headDim, qkNorm, dual = false, readsContextOnly = false }: JointBlockOptions) {
    super();
    const width = heads * headDim;
    this.norm1 = new AdaLayerNorm(width, dual ? 9 : 6);
    this.norm1_context = new AdaLayerNorm(width, readsContextOnly ? 2 : 6);
    this.attn = new JointAttention(heads, headDim, { qkNorm, contextOut: !readsContextOnly });
    if (dual) this.attn2 = new Attention(width, heads, headDim, { bias: true, qkNorm });
    this.ff = new FeedForward(width, "gelu-approximate");
    if (!readsContextOnly) this.ff_context = new FeedForward(width, "gelu-approximate");
  }

  forward(
    image: Tensor,
    context: Tensor,
    temb: Tensor,
    { rotation, tap }: { rotation?: Rotation; tap?: Tap } = {},
  ): JointTokens {
    return scope(() => {
      const [shift, scale, gate, shiftMlp, scaleMlp, gateMlp, shift2, scale2, gate2] = this.norm1.forward(
        temb,
      ) as Modulation;
      const normed = modulate(image, shift, scale);
      tapNorm(tap, "norm1", normed, {
        gate_msa: gate,
        shift_mlp: shiftMlp,
        scale_mlp: scaleMlp,
        gate_mlp: gateMlp,
      });
      const told = this.norm1_context.forward(temb);
      // The continuous form of the norm has the scale first.
      const [contextShift, contextScale] = this.ff_context ? told : told.toReversed();
      const normedContext = modulate(context, contextShift as Tensor, contextScale as Tensor);
      const attended = this.attn.forward(normed, normedContext, rotation);
      tap?.("attn.image", attended.image);
      tap?.("attn.context", attended.context);

      let x = image.addcmul(gate, attended.image);
      if (this.attn2 && shift2 && scale2 && gate2) {
        const normed2 = modulate(image, shift2, scale2);
        const attended2 = this.attn2.forward(normed2);
        tap?.("norm1.out2", normed2);
        tap?.("norm1.gate_msa2", gate2.squeeze(1));
        tap?.("attn2", attended2);
        x = x.addcmul(gate2, attended2);
      }
      x = x.addcmul(gateMlp, this.ff.forward(modulate(x, shiftMlp, scaleMlp)));
      tap?.("image", x);
      if (!this.ff_context) {
        tap?.("norm1_context", normedContext);
        return { image: x, context };
      }

      const [, , cGate, cShiftMlp, cScaleMlp, cGateMlp] = told as Modulation;
      tapNorm(tap, "norm1_context", normedContext, {
        gate_msa: cGate,
        shift_mlp: cShiftMlp,
        scale_mlp: cScaleMlp,
        gate_mlp: cGateMlp,
      });
      const c = context.addcmul(cGate, attended.context);
      const out = c.addcmul(cGateMlp, this.ff_context.forward(modulate(c, cShiftMlp, cScaleMlp)));
      tap?.("context", out);
      return { image: x, context: out };
    });
  }
}

/**
 * The blocks one after the other. The tokens are used up: a block's inputs are freed behind it, so that no two states stand in memory.
 *
 * temb and rotation as for a block; `call` calls each.
 */
export function runJointBlocks(
  blocks: readonly JointTransformerBlock[],
  tokens: JointTokens,
  temb: Tensor,
  { rotation, call, tap }: { rotation?: Rotation; call: LayerCall<JointTokens>; tap?: Tap },
): JointTokens {
  return scope(() => {
    let state = tokens;
    for (const [i, block] of blocks.entries()) {
      const before = state;
      state = call(
        (image, context, temb, cos, sin) =>
          block.forward(image as Tensor, context as Tensor, temb as Tensor, {
            rotation: cos && sin && { cos, sin },
            tap: tap && ((name, value) => tap(`block.${i}.${name}`, value)),
          }),
        [before.image, before.context, temb, ...(rotation ? [rotation.cos, rotation.sin] : [])],
      );
      before.image.dispose();
      if (state.context !== before.context) before.context.dispose();
    }
    return state;
  });
}

/** Shift, scale and gate of the attention, of the feed-forward, and of the second attention where there is one. */
type Modulation = [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor?, Tensor?, Tensor?];

function tapNorm(
  tap: Tap | undefined,
  norm: string,
  out: Tensor,
  told: Readonly<Record<string, Tensor>>,
): void {
  tap?.(`${norm}.out`, out);
  for (const [name, value] of Object.entries(told)) tap?.(`${norm}.${name}`, value.squeeze(1));
}
