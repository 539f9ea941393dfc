import { arange, cat, scope, stack, type Tensor, zeros } from "@spo/torch";

/** Cosines and sines by which the features of each token are turned, [n, width]; each value stands twice in a row. */
export interface Rotation {
  cos: Tensor;
  sin: Tensor;
}

/** Places of image tokens, row by row: (0, row, column), [height·width, 3]. Source: diffusers `_prepare_latent_image_ids`. */
export function imageIds(height: number, width: number, { device }: Pick<Tensor, "device">): Tensor {
  return scope(() => {
    const row = arange(0, height, 1, { device }).unsqueeze(1).expand([height, width]);
    const column = arange(0, width, 1, { device }).unsqueeze(0).expand([height, width]);
    return stack([zeros([height, width], { device }), row, column], -1).flatten(0, 1);
  });
}

/**
 * The rotation of tokens at given places.
 *
 * ids [n, axes], widths: features for each axis, even → [n, sum of widths] in float32. Angles id·10000^(−2i/width) are computed in float64.
 * Source: Su et al. 2021, section 3.2.2; diffusers `get_1d_rotary_pos_embed`.
 */
export function rotaryEmbedding(ids: Tensor, widths: readonly number[]): Rotation {
  return scope(() => {
    const places = ids.to({ dtype: "float64" });
    const angles = cat(
      widths.map((width, axis) => {
        const exponents = arange(0, width, 2, { dtype: "float64", device: ids.device });
        const frequencies = exponents.mul(-Math.log(10000) / width).exp();
        return places.narrow(1, axis, 1).mul(frequencies.unsqueeze(0));
      }),
      1,
    );
    const twice = (x: Tensor): Tensor => x.to({ dtype: "float32" }).repeatInterleave(2, 1);
    return { cos: twice(angles.cos()), sin: twice(angles.sin()) };
  });
}

/**
 * Turns neighbouring features (a, b) into (a·cos − b·sin, b·cos + a·sin), in float32 whatever the type. x [b, n, heads, width].
 *
 * Source: diffusers `apply_rotary_emb`.
 */
export function rotate(x: Tensor, { cos, sin }: Rotation): Tensor {
  return scope(() => {
    const wide = x.to({ dtype: "float32" });
    const [a, b] = wide.unflatten(-1, [-1, 2]).unbind(-1) as [Tensor, Tensor];
    const quarter = stack([b.neg(), a], -1).flatten(-2); // turned by 90°
    return wide.mul(cos.unsqueeze(1)).addcmul(quarter, sin.unsqueeze(1)).to({ dtype: x.dtype });
  });
}
