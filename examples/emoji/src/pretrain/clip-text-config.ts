import type { CLIPTextConfig, ClipTokenizer } from "@spo/diffusion";

/** Sizes of a small text encoder for the tokenizer's words. */
export const clipTextConfig = (
  { textWidth, textLayers }: { textWidth: number; textLayers: number },
  tokenizer: ClipTokenizer,
): CLIPTextConfig => ({
  vocab_size: tokenizer.vocabSize,
  hidden_size: textWidth,
  intermediate_size: 4 * textWidth,
  num_hidden_layers: textLayers,
  num_attention_heads: 4,
  max_position_embeddings: tokenizer.modelMaxLength,
  hidden_act: "quick_gelu",
  layer_norm_eps: 1e-5,
  projection_dim: textWidth,
  eos_token_id: 2,
});
