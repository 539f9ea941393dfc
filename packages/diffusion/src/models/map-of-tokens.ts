import type { Tensor } from "@spo/torch";

/**
 * Tokens [b, h·w, c] → map [b, c, h, w], a view whose channels come last.
 *
 * Not by transposing first: of a single sample libtorch would then not see by the strides that channels come last, and what follows would
 * be computed in the other order.
 */
export const mapOfTokens = (tokens: Tensor, height: number, width: number): Tensor =>
  tokens.unflatten(1, [height, width]).permute([0, 3, 1, 2]);
