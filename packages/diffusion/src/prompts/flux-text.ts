import { scope, type Tensor } from "@spo/torch";
import type { CLIPTextModel } from "../models/clip-text.js";
import type { T5EncoderModel } from "../models/t5-encoder.js";

/**
 * What FLUX is told of n prompts: T5's states as context [n, L₅, d], and CLIP's state at the end token after the final norm, not projected,
 * as pooled [n, p].
 *
 * clip, t5: token ids of each tokenizer, int64 [n, L] and [n, L₅]. Source: diffusers FluxPipeline.
 */
export function fluxConditions(
  { textEncoder, textEncoder2 }: { textEncoder: CLIPTextModel; textEncoder2: T5EncoderModel },
  { clip, t5 }: { clip: Tensor; t5: Tensor },
): { context: Tensor; pooled: Tensor } {
  return scope(() => ({
    context: textEncoder2.forward(t5),
    pooled: textEncoder.forward(clip).pooled,
  }));
}
