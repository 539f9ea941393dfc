import { scope, type Tensor, UserError } from "@spo/torch";

/** Latents as tokens of patch × patch pixels, row by row: [b, c, h, w] → [b, (h/p)·(w/p), c·p·p]. Source: diffusers `_pack_latents`. */
export function packLatents(latents: Tensor, patch: number): Tensor {
  return scope(() =>
    latents
      .unflatten(3, [-1, patch])
      .unflatten(2, [-1, patch]) // [b, c, h/p, p, w/p, p]
      .permute([0, 2, 4, 1, 3, 5])
      .flatten(3)
      .flatten(1, 2),
  );
}

/** The inverse of `packLatents`; height and width in patches. */
export function unpackLatents(
  tokens: Tensor,
  [height, width]: readonly [number, number],
  patch: number,
): Tensor {
  return scope(() =>
    tokens
      .unflatten(2, [-1, patch, patch])
      .unflatten(1, [height, width])
      .permute([0, 3, 1, 4, 2, 5])
      .flatten(4)
      .flatten(2, 3),
  );
}

/** Height and width of latents in patches. Throws a UserError (`USAGE`) where patches do not divide them. */
export function inPatches([height, width]: readonly [number, number], patch: number): [number, number] {
  if (height % patch !== 0 || width % patch !== 0) {
    throw new UserError(
      `Latents of ${height} × ${width} do not divide into patches of ${patch} × ${patch}.`,
      {
        code: "USAGE",
        hint: `Choose a height and a width whose latents are multiples of ${patch}.`,
      },
    );
  }
  return [height / patch, width / patch];
}
