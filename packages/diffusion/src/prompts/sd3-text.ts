import { cat, scope, type Tensor, zeros } from "@spo/torch";
import type { CLIPTextModelWithProjection } from "../models/clip-text.js";
import type { T5EncoderModel } from "../models/t5-encoder.js";

/** The text encoders of SD3. */
export interface Sd3TextEncoders {
  textEncoder: CLIPTextModelWithProjection;
  textEncoder2: CLIPTextModelWithProjection;
  /** Absent: its states are zeros. */
  textEncoder3?: T5EncoderModel;
}

/** Token ids of n prompts by each tokenizer, int64. */
export interface Sd3TokenIds {
  /** [n, L] */
  clip: Tensor;
  /** [n, L] */
  clip2: Tensor;
  /** [n, L₅], or only how many tokens T5 would have, where it is left out. */
  t5: Tensor | number;
}

/**
 * What SD3 is told of n prompts. width: of T5's states, the transformer's `joint_attention_dim`.
 *
 * context [n, L + L₅, width]: the states of both CLIPs before their last layer, side by side and filled up with zeros, then T5's.
 * pooled [n, p + p₂]: the projected states of both at the end token. Source: Esser et al. 2024, section 4; diffusers
 * StableDiffusion3Pipeline.
 */
export function sd3Conditions(
  { textEncoder, textEncoder2, textEncoder3 }: Sd3TextEncoders,
  { clip, clip2, t5 }: Sd3TokenIds,
  width: number,
): { context: Tensor; pooled: Tensor } {
  return scope(() => {
    const outputs = [textEncoder.forward(clip), textEncoder2.forward(clip2)];
    const states = cat(
      outputs.map(({ hiddenStates }) => hiddenStates.at(-2) as Tensor),
      -1,
    );
    const [n, length, own] = states.shape as [number, number, number];
    const { device, dtype } = states;
    const filled = cat([states, zeros([n, length, width - own], { device, dtype })], -1);
    const long =
      textEncoder3 && typeof t5 !== "number"
        ? textEncoder3.forward(t5).to({ device, dtype })
        : zeros([n, typeof t5 === "number" ? t5 : (t5.shape[1] as number), width], { device, dtype });
    return {
      context: cat([filled, long], 1),
      pooled: cat(
        outputs.map(({ pooled }) => pooled),
        -1,
      ),
    };
  });
}
